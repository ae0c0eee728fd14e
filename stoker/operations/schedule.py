"""The schedule: when tasks run and how they ran; run one now, pause it, resume it.

Raises NotFound for an unknown task, DatabaseUnavailable, and QueueUnavailable where jobs are enqueued.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from importlib.resources import files

from pydantic import BaseModel
from sqlalchemy import RowMapping, delete, func, text
from sqlalchemy.dialects.postgresql import insert

from stoker.errors import NotFound
from stoker.operations.audit import Actor, acting, enqueue_audited
from stoker.postgres import database_errors, fetched
from stoker.settings import ScheduleSettings
from stoker.stoker import Stoker
from stoker.tables import schedule_pauses, schedule_slots
from stoker.worker.schedule.tasks import Task, tasks, utc_now

SLOTS = 10
"""How many runs of each task are listed."""
SLOTS_OF_TASKS = text(files("stoker.worker.schedule").joinpath("task_slots.sql").read_text())
LAST_SLOTS = text(
    "SELECT task, (SELECT done_at FROM stoker.schedule_slots AS slots"
    " WHERE slots.task = asked.task AND state = 'done' ORDER BY slot DESC LIMIT 1) AS at"
    " FROM unnest(CAST(:tasks AS text[])) AS asked (task)"
)


class SlotFigures(BaseModel):
    """A run of a task. `asked_by`: who started it by hand. Durations are None until the job has ended."""

    slot: datetime
    state: str
    late_s: float
    asked_by: str | None
    job_id: str | None
    waited_s: float | None
    ran_s: float | None
    outcome: str | None
    error: str | None


class TaskFigures(BaseModel):
    """A task of the schedule: when it runs next, and how it ran lately, the newest first.

    `every_s`: the time between its last slot and its next. `when`: its interval or cron expression, in words.
    """

    name: str
    kind: str
    every_s: float
    when: str
    next_at: datetime
    paused_by: str | None
    paused_at: datetime | None
    slots: list[SlotFigures]


class Tasks(BaseModel):
    """Every task of the schedule."""

    tasks: list[TaskFigures]


class TaskRun(BaseModel):
    """A task that was started by hand, and its job."""

    task: str
    job_id: str


class TaskPause(BaseModel):
    """A task, and whether its slots are skipped."""

    task: str
    paused: bool


async def listing(stoker: Stoker, settings: ScheduleSettings) -> Tasks:
    """Every task with its next and its last runs."""
    planned = tasks(settings, stoker.domain)
    values = {"tasks": [task.name for task in planned], "slots": SLOTS}
    rows = await fetched(stoker.engine, SLOTS_OF_TASKS, values)
    return Tasks(
        tasks=[_figures(task, [row for row in rows if row["task"] == task.name]) for task in planned]
    )


async def last_slots(stoker: Stoker, names: Iterable[str]) -> dict[str, datetime]:
    """When each task was last enqueued. Tasks that never were are left out."""
    rows = await fetched(stoker.engine, LAST_SLOTS, {"tasks": list(names)})
    return {row["task"]: row["at"] for row in rows if row["at"] is not None}


async def run_now(stoker: Stoker, actor: Actor, settings: ScheduleSettings, name: str) -> TaskRun:
    """Enqueue a task's job now, outside its schedule, even while it is paused."""
    task = _named(stoker, settings, name)
    asked = await enqueue_audited(stoker, actor, "schedule.run", {"task": task.name}, task.job)
    now = func.clock_timestamp()
    row = insert(schedule_slots).values(
        task=task.name,
        slot=now,
        state="done",
        claimed_by="by hand",
        lease_until=now,
        done_at=now,
        job_id=asked.job_id,
        asked_by=actor.name[:64],
    )
    with database_errors():
        async with stoker.engine.begin() as connection:
            await connection.execute(row.on_conflict_do_nothing())
    return TaskRun(task=task.name, job_id=asked.job_id)


async def pause(stoker: Stoker, actor: Actor, settings: ScheduleSettings, name: str) -> TaskPause:
    """Skip a task's slots until it is resumed."""
    task = _named(stoker, settings, name)
    async with acting(stoker, actor, "schedule.pause", {"task": task.name}) as session:
        row = insert(schedule_pauses).values(task=task.name, actor=actor.name[:64])
        await session.execute(row.on_conflict_do_nothing())
    return TaskPause(task=task.name, paused=True)


async def resume(stoker: Stoker, actor: Actor, settings: ScheduleSettings, name: str) -> TaskPause:
    """End a pause: the next slot is run."""
    task = _named(stoker, settings, name)
    async with acting(stoker, actor, "schedule.resume", {"task": task.name}) as session:
        await session.execute(delete(schedule_pauses).where(schedule_pauses.c.task == task.name))
    return TaskPause(task=task.name, paused=False)


def _named(stoker: Stoker, settings: ScheduleSettings, name: str) -> Task:
    known = {task.name: task for task in tasks(settings, stoker.domain)}
    if name not in known:
        raise NotFound(f"the schedule has no task {name[:40]!r}; there are: {', '.join(known)}")
    return known[name]


def _figures(task: Task, rows: list[RowMapping]) -> TaskFigures:
    paused_by, paused_at = (rows[0]["paused_by"], rows[0]["paused_at"]) if rows else (None, None)
    return TaskFigures(
        name=task.name,
        kind=task.job.kind,
        every_s=task.interval(utc_now()).total_seconds(),
        when=task.says(),
        next_at=task.following(utc_now()),
        paused_by=paused_by,
        paused_at=paused_at,
        slots=[SlotFigures(**row) for row in rows if row["slot"] is not None],
    )
