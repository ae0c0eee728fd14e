"""What an operator can do to jobs and to the schedule, through the API or the CLI: audited, then done.

Raises Unavailable when a server is away; what was audited and not done can be asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert

from stoker.cache.view import EntryKey
from stoker.domain import Domain
from stoker.errors import InvalidParams, NotFound
from stoker.jobs import Lane, Refresh
from stoker.operations.actions import invalidation_of
from stoker.operations.audit import Actor, audit
from stoker.postgres import database_errors
from stoker.queue.enqueue import CancelAnswer
from stoker.stoker import Stoker
from stoker.tables import schedule_pauses, schedule_slots
from stoker.worker.engine.dead_letters import DeadLetters, Retried, Which
from stoker.worker.schedule.tasks import Task, tasks
from stoker.worker.settings import ScheduleSettings


async def retry_dead(stoker: Stoker, actor: Actor, which: Which) -> Retried:
    """Put dead letters back into their lanes."""
    await _audited(stoker, actor, "dead.retry", _given(which))
    return await DeadLetters(stoker.engine).retry(which, stoker.queue)


async def discard_dead(stoker: Stoker, actor: Actor, which: Which) -> int:
    """Delete dead letters for good; how many there were."""
    await _audited(stoker, actor, "dead.discard", _given(which))
    return await DeadLetters(stoker.engine).discard(which)


async def pause_lane(stoker: Stoker, actor: Actor, lane: Lane) -> None:
    """Let no worker begin a job of the lane."""
    await _audited(stoker, actor, "lane.pause", {"lane": lane})
    await stoker.queue.pause(lane)


async def resume_lane(stoker: Stoker, actor: Actor, lane: Lane) -> None:
    """End a pause."""
    await _audited(stoker, actor, "lane.resume", {"lane": lane})
    await stoker.queue.resume(lane)


async def set_slots(stoker: Stoker, actor: Actor, lane: Lane, slots: int | None) -> None:
    """Let every worker run so many jobs of a lane at once; None: as each one's settings say."""
    await _audited(stoker, actor, "lane.set", {"lane": lane, "slots": slots})
    if slots is None:
        await stoker.queue.clear_concurrency(lane)
    else:
        await stoker.queue.set_concurrency(lane, slots)


async def cancel(stoker: Stoker, actor: Actor, job_id: str) -> CancelAnswer:
    """End a waiting or running job for good."""
    await _audited(stoker, actor, "job.cancel", {"job_id": job_id})
    return await stoker.queue.cancel(job_id)


async def refresh(
    stoker: Stoker, actor: Actor, kind: str, scope_id: object, views: Sequence[str] = ()
) -> list[str]:
    """Enqueue rebuilds of a scope's plain entries; returns the jobs' ids. Raises BadRequest."""
    scope = invalidation_of(stoker.domain, kind, scope_id, views).scope
    chosen = [
        view for view in stoker.domain.views if view.scope == scope.kind and (not views or view.name in views)
    ]
    keys: list[EntryKey] = [key for view in chosen if (key := view.default_key(scope)) is not None]
    if not keys:
        raise InvalidParams("none of these views can be read without parameters", field="views")
    await _audited(
        stoker, actor, "cache.refresh", {"scope": str(scope), "views": sorted(key.view for key in keys)}
    )
    asked = await stoker.queue.enqueue_many(
        [Refresh(view=key.view, scope_id=key.scope.id, params=key.params) for key in keys]
    )
    return [one.job_id for one in asked]


def task_named(settings: ScheduleSettings, domain: Domain, name: str) -> Task:
    """A task of the schedule; raises NotFound."""
    scheduled = tasks(settings, domain)
    for task in scheduled:
        if task.name == name:
            return task
    known = ", ".join(task.name for task in scheduled)
    raise NotFound(f"the schedule has no task {name[:40]!r}; there are: {known}")


async def run_now(stoker: Stoker, actor: Actor, task: Task) -> str:
    """Enqueue a task's job outside its times; returns the job's id. A pause does not hold it back."""
    await _audited(stoker, actor, "schedule.run", {"task": task.name})
    asked = await stoker.enqueue(task.job)
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
    return asked.job_id


async def pause_task(stoker: Stoker, actor: Actor, task: Task) -> None:
    """Let a task's slots pass until it is resumed."""
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(session, actor, "schedule.pause", {"task": task.name})
            row = insert(schedule_pauses).values(task=task.name, actor=actor.name[:64])
            await session.execute(row.on_conflict_do_nothing())


async def resume_task(stoker: Stoker, actor: Actor, task: Task) -> None:
    """End a pause: the next slot is run."""
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(session, actor, "schedule.resume", {"task": task.name})
            await session.execute(delete(schedule_pauses).where(schedule_pauses.c.task == task.name))


async def _audited(stoker: Stoker, actor: Actor, action: str, arguments: Mapping[str, object]) -> None:
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(session, actor, action, arguments)


def _given(which: Which) -> dict[str, object]:
    return {name: value for name, value in asdict(which).items() if value is not None}
