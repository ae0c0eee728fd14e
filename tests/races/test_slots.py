"""A slot of the schedule is claimed, then done: a worker that dies in between loses no run (row 40)."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Job, Lane
from stoker.queue.enqueue import Queue
from stoker.schedule import Every
from stoker.settings import ScheduleSettings
from stoker.tables import schedule_slots
from stoker.worker.engine.depth import depth
from stoker.worker.schedule.ledger import Ledger
from stoker.worker.schedule.runner import Enqueue, Schedule
from tests.races.race import race
from tests.races.world import never
from tests.support.engine_fixtures import known_jobs, queue, sql  # noqa: F401
from tests.support.engine_stage import Work
from tests.support.traps import Held

HOURLY = Every("hourly", Work(name="slot"), timedelta(hours=1))


async def _noon() -> datetime:
    return datetime(2026, 5, 1, 12, tzinfo=UTC)


def _schedule(sql: AsyncEngine, queue: Queue, name: str, enqueue: Enqueue) -> Schedule:
    return Schedule([HOURLY], Ledger(sql, name), enqueue, queue.is_open, ScheduleSettings(), _noon)


@race("slots claimed, then done", "slots of the dead taken over")
async def test_a_slot_is_not_lost_with_a_worker_that_died_before_its_job_was_queued(
    queue: Queue, sql: AsyncEngine
) -> None:
    """Row 40. A slot is done when its job is queued, not when it is claimed; a later worker takes it over."""
    held = Held()

    async def never_enqueued(_: Job) -> None:
        await held.pass_by()

    dying = asyncio.create_task(_schedule(sql, queue, "dying", never_enqueued).tick())
    await held.reached.wait()
    dying.cancel()
    await asyncio.wait({dying})
    async with sql.begin() as connection:  # its lease is over
        await connection.execute(update(schedule_slots).values(lease_until=func.clock_timestamp()))
    heir = _schedule(sql, queue, "heir", queue.enqueue)
    await heir.tick()
    await heir.tick()
    queued = (await depth(queue))[Lane.WARM].ready
    never("the slot has passed without its job", happened=queued == 0)
    assert queued == 1, "and it was run once"
