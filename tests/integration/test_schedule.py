"""The schedule on a real ledger: one run for each slot, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from jobs.contracts import Contract, Prune
from jobs.errors import DatabaseUnavailable, QueueUnavailable
from jobs.tables import schedule_slots
from worker.ledger import Ledger
from worker.migrate import migrate
from worker.schedule import Schedule, Task
from worker.settings import LatePolicy, ScheduleSettings

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Task("hourly", Prune(), HOUR)
DEFAULTS = ScheduleSettings()
SKIP = ScheduleSettings(late=LatePolicy.SKIP, grace_s=60)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Enqueued:
    """Where jobs go; can be told to fail."""

    def __init__(self) -> None:
        self.jobs: list[Contract] = []
        self.error: Exception | None = None

    async def __call__(self, contract: Contract) -> None:
        if self.error is not None:
            raise self.error
        self.jobs.append(contract)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    await migrate(database_url, None)
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON + timedelta(minutes=5))


@pytest.fixture
def enqueued() -> Enqueued:
    return Enqueued()


def schedule(
    engine: AsyncEngine,
    enqueued: Enqueued,
    clock: Clock,
    name: str = "a",
    settings: ScheduleSettings = DEFAULTS,
) -> Schedule:
    return Schedule([HOURLY], Ledger(engine, name), enqueued, settings, clock)


async def ledger(engine: AsyncEngine) -> list[tuple[datetime, str]]:
    query = select(schedule_slots.c.slot, schedule_slots.c.state).order_by(schedule_slots.c.slot)
    async with engine.connect() as connection:
        return [(slot, state) for slot, state in await connection.execute(query)]


async def expire_leases(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE schedule_slots SET lease_until = clock_timestamp()"))


async def test_a_slot_runs_once_over_many_workers(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    workers = [schedule(engine, enqueued, clock, name) for name in "abcdef"]
    await asyncio.gather(*(worker.tick() for worker in workers))
    await asyncio.gather(*(worker.tick() for worker in workers))
    assert enqueued.jobs == [Prune()]
    assert await ledger(engine) == [(NOON, "done")]


async def test_the_next_slot_runs_when_it_comes(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    one = schedule(engine, enqueued, clock)
    assert await one.tick() == NOON + HOUR
    clock.now = NOON + HOUR
    await one.tick()
    assert [slot for slot, _ in await ledger(engine)] == [NOON, NOON + HOUR]


async def test_of_missed_slots_only_the_newest_runs(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    one = schedule(engine, enqueued, clock)
    await one.tick()
    clock.now = NOON + 5 * HOUR + timedelta(minutes=50)
    await one.tick()
    assert await ledger(engine) == [(NOON, "done"), (NOON + 5 * HOUR, "done")]
    assert len(enqueued.jobs) == 2


async def test_a_late_slot_is_skipped_where_the_policy_says_so(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    await schedule(engine, enqueued, clock, settings=SKIP).tick()
    assert enqueued.jobs == []
    assert await ledger(engine) == [(NOON, "skipped")]


async def test_a_slot_whose_worker_died_runs_again_after_its_lease(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    assert await Ledger(engine, "dead").claim("hourly", NOON, timedelta(seconds=60))
    survivor = schedule(engine, enqueued, clock)
    due = await survivor.tick()
    assert enqueued.jobs == []
    assert clock.now < due <= clock.now + timedelta(seconds=60)
    await expire_leases(engine)
    await survivor.tick()
    assert enqueued.jobs == [Prune()]


async def test_an_unfinished_slot_is_not_late_where_late_slots_are_skipped(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    await Ledger(engine, "dead").claim("hourly", NOON, timedelta(0))
    await schedule(engine, enqueued, clock, settings=SKIP).tick()
    assert enqueued.jobs == [Prune()]


async def test_a_worker_that_lost_its_lease_cannot_settle_the_slot(engine: AsyncEngine) -> None:
    slow, quick = Ledger(engine, "slow"), Ledger(engine, "quick")
    assert await slow.claim("hourly", NOON, timedelta(0))
    assert await quick.claim("hourly", NOON, HOUR)
    await slow.done("hourly", NOON)
    assert await ledger(engine) == [(NOON, "claimed")]
    await quick.done("hourly", NOON)
    assert await ledger(engine) == [(NOON, "done")]


async def test_a_host_whose_clock_is_behind_begins_no_older_slot(engine: AsyncEngine) -> None:
    assert await Ledger(engine, "right").claim("hourly", NOON, HOUR)
    assert not await Ledger(engine, "behind").claim("hourly", NOON - HOUR, HOUR)
    assert (await Ledger(engine, "behind").state("hourly", NOON - HOUR)).settled


async def test_without_the_queue_a_slot_is_given_back_and_tried_again(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    enqueued.error = QueueUnavailable("the queue Redis does not answer")
    one = schedule(engine, enqueued, clock)
    assert await one.tick() == clock.now + timedelta(seconds=5)
    assert await ledger(engine) == [(NOON, "failed")]
    enqueued.error = None
    await expire_leases(engine)
    await schedule(engine, enqueued, clock, "another").tick()
    assert enqueued.jobs == [Prune()]
    assert await ledger(engine) == [(NOON, "done")]


async def test_a_slot_given_up_for_a_later_one_is_marked_skipped(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    await Ledger(engine, "dead").claim("hourly", NOON, timedelta(0))
    clock.now = NOON + HOUR
    await schedule(engine, enqueued, clock).tick()
    assert await ledger(engine) == [(NOON, "skipped"), (NOON + HOUR, "done")]


async def test_postgres_away_only_delays_the_schedule(
    engine: AsyncEngine, enqueued: Enqueued, clock: Clock
) -> None:
    class AwayOnce(Ledger):
        away = True

        async def claim(self, task: str, slot: datetime, lease: timedelta) -> bool:
            if self.away:
                self.away = False
                raise DatabaseUnavailable("Postgres does not answer")
            return await super().claim(task, slot, lease)

    stop = asyncio.Event()

    async def enqueue_and_stop(contract: Contract) -> None:
        await enqueued(contract)
        stop.set()

    settings = ScheduleSettings(retry_s=0.01)
    one = Schedule([HOURLY], AwayOnce(engine, "a"), enqueue_and_stop, settings, clock)
    async with asyncio.timeout(10):
        await one.run(stop)
    assert enqueued.jobs == [Prune()]
