"""`stoker schedule`: when tasks run and how they ran; run one now, pause it, resume it."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.api import schedule as routes
from worker.cli.display import show, table
from worker.cli.opened import Json, show_model, us, with_stoker
from worker.cli.servers import DATA, Data, Embedded

app = typer.Typer(help="The schedule: list, run now, pause, resume.", no_args_is_help=True)

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="As `schedule list` shows it.")]


@app.command("list")
def list_(data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Next and last runs of each task."""
    found = with_stoker(
        data, lambda stoker, settings: routes.listing(us(), stoker, settings), embedded=embedded
    )
    if as_json:
        show_model(found)
        return
    rows = []
    for task in found.tasks:
        last = task.slots[0] if task.slots else None
        facts = [getattr(last, name, None) for name in ("slot", "state", "late_s", "ran_s", "outcome")]
        rows.append([task.name, task.kind, task.every_s, task.next_at, task.paused_by, *facts])
    columns = ["task", "contract", "every_s", "next_at", "paused_by"]
    table("schedule", [*columns, "last", "state", "late_s", "ran_s", "outcome"], rows)


@app.command()
def run(task: TaskName, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Run a task now, besides its times."""
    found = with_stoker(
        data, lambda stoker, settings: routes.run(task, us(), stoker, settings), embedded=embedded
    )
    if as_json:
        show_model(found)
    else:
        show(f"{task} is enqueued as {found.job_id}")


@app.command()
def pause(task: TaskName, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Let a task's slots pass until it is resumed; for every worker."""
    found = with_stoker(
        data, lambda stoker, settings: routes.pause(task, us(), stoker, settings), embedded=embedded
    )
    if as_json:
        show_model(found)
    else:
        show(f"{task} is paused")


@app.command()
def resume(task: TaskName, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Run a task at its times again."""
    found = with_stoker(
        data, lambda stoker, settings: routes.resume(task, us(), stoker, settings), embedded=embedded
    )
    if as_json:
        show_model(found)
    else:
        show(f"{task} is resumed")
