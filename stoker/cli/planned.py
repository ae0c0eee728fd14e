"""`stoker schedule`: when tasks run and how they ran; run one now, pause it, resume it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from stoker.api import schedule as routes
from stoker.api.access import Reader
from stoker.cli.display import table
from stoker.cli.opened import Json, show_either, show_model, us, with_stoker
from stoker.cli.servers import DATA, Data, Embedded
from stoker.settings import Settings
from stoker.stoker import Stoker

app = typer.Typer(help="The schedule: list, run now, pause, resume.", no_args_is_help=True)

Ask = Callable[[str, Reader, Stoker, Settings], Awaitable[Any]]
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
    columns = ["task", "job", "every_s", "next_at", "paused_by"]
    table("schedule", [*columns, "last", "state", "late_s", "ran_s", "outcome"], rows)


def _steer(verb: str, help_: str, ask: Ask, said: str) -> None:
    """Add a command that asks something for one task."""

    def command(
        task: TaskName, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False
    ) -> None:
        found = with_stoker(
            data, lambda stoker, settings: ask(task, us(), stoker, settings), embedded=embedded
        )
        show_either(found, said.format(task=task, found=found), as_json=as_json)

    app.command(verb, help=help_)(command)


_steer("run", "Run a task now, besides its times.", routes.run, "{task} is enqueued as {found.job_id}")
_steer(
    "pause",
    "Let a task's slots pass until it is resumed; for every worker.",
    routes.pause,
    "{task} is paused",
)
_steer("resume", "Run a task at its times again.", routes.resume, "{task} is resumed")
