"""`stoker schedule`: when tasks run and how they ran; run one now, pause it, resume it."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import show, table
from stoker.cli.opened import On, operator
from stoker.operations import schedule
from stoker.operations.schedule import TaskPause, TaskRun, Tasks

app = typer.Typer(help="The schedule: list, run now, pause, resume.", no_args_is_help=True)

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="As `schedule list` shows it.")]
TASK = ("name", "kind", "when", "next_at", "paused_by")
LAST = ("state", "late_s", "ran_s", "outcome")


def _draw(found: Tasks) -> None:
    rows = []
    for task in found.tasks:
        last = task.slots[0] if task.slots else None
        facts = [getattr(last, name, None) for name in ("slot", *LAST)]
        rows.append([*(getattr(task, name) for name in TASK), *facts])
    table("schedule", [*TASK, "last", *LAST], rows)


def _say_run(found: TaskRun) -> None:
    show(f"{found.task} is enqueued as {found.job_id}")


def _say_paused(found: TaskPause) -> None:
    show(f"{found.task} is {'paused' if found.paused else 'resumed'}")


@app.command("list")
@operator(_draw)
async def list_(on: On) -> Tasks:
    """Next and last runs of each task."""
    return await schedule.listing(on.stoker, on.settings.schedule)


@app.command("run")
@operator(_say_run)
async def run(on: On, task: TaskName) -> TaskRun:
    """Run a task now, in addition to its schedule."""
    return await schedule.run_now(on.stoker, on.actor, on.settings.schedule, task)


@app.command("pause")
@operator(_say_paused)
async def pause(on: On, task: TaskName) -> TaskPause:
    """Skip a task's slots until it is resumed, in every worker."""
    return await schedule.pause(on.stoker, on.actor, on.settings.schedule, task)


@app.command("resume")
@operator(_say_paused)
async def resume(on: On, task: TaskName) -> TaskPause:
    """Run a task at its times again."""
    return await schedule.resume(on.stoker, on.actor, on.settings.schedule, task)
