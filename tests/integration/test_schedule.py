"""The schedule on a real ledger: one run for each slot, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stoker.errors import DatabaseUnavailable, QueueUnavailable
from stoker.jobs import Job, Prune, Verify
from stoker.migrate import migrate
from stoker.queue.answers import Answer, Enqueued
from stoker.schedule import Cron, Every
from stoker.settings import LatePolicy, OverlapPolicy, ScheduleSettings
from stoker.tables import schedule_pauses, schedule_slots
from stoker.worker.schedule.ledger import Ledger, Slot
from stoker.worker.schedule.runner import Schedule
from stoker.worker.schedule.tasks import Task

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Every("hourly", Prune(), HOUR)
GRACE = ScheduleSettings(grace_s=60)
SKIP = replace(HOURLY, late=LatePolicy.SKIP)
ALL = replace(HOURLY, late=LatePolicy.ALL, overlap=OverlapPolicy.ALLOW)
OVERLAPPING = replace(HOURLY, overlap=OverlapPolicy.ALLOW)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    async def __call__(self) -> datetime:
        return self.now


class Jobs:
    """Where jobs go; can be told to fail. A job ends at once unless it is held open."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.error: Exception | None = None
        self.stay_open = False

    async def __call__(self, job: Job) -> Enqueued:
        if self.error is not None:
            raise self.error
        self.jobs.append(job)
        return Enqueued(str(len(self.jobs)), Answer.ENQUEUED)

    async def is_open(self, job_id: str) -> bool:
        if self.error is not None:
            raise self.error
        return self.stay_open and int(job_id) <= len(self.jobs)


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
def enqueued() -> Jobs:
    return Jobs()


def schedule(
    engine: AsyncEngine,
    enqueued: Jobs,
    clock: Clock,
    name: str = "a",
    task: Task = HOURLY,
) -> Schedule:
    return Schedule([task], Ledger(engine, name), enqueued, enqueued.is_open, GRACE, clock)


async def ledger(engine: AsyncEngine) -> list[tuple[datetime, str]]:
    query = select(schedule_slots.c.slot, schedule_slots.c.state).order_by(schedule_slots.c.slot)
    async with engine.connect() as connection:
        return [(slot, state) for slot, state in await connection.execute(query)]


async def expire_leases(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE stoker.schedule_slots SET lease_until = clock_timestamp()"))


async def test_a_slot_runs_once_over_many_workers(engine: AsyncEngine, enqueued: Jobs, clock: Clock) -> None:
    workers = [schedule(engine, enqueued, clock, name) for name in "abcdef"]
    await asyncio.gather(*(worker.tick() for worker in workers))
    await asyncio.gather(*(worker.tick() for worker in workers))
    assert enqueued.jobs == [Prune()]
    assert await ledger(engine) == [(NOON, "done")]


async def test_the_next_slot_runs_when_it_comes(engine: AsyncEngine, enqueued: Jobs, clock: Clock) -> None:
    one = schedule(engine, enqueued, clock)
    assert await one.tick() == NOON + HOUR
    clock.now = NOON + HOUR
    await one.tick()
    assert [slot for slot, _ in await ledger(engine)] == [NOON, NOON + HOUR]


async def test_of_missed_slots_only_the_newest_runs(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    one = schedule(engine, enqueued, clock)
    await one.tick()
    clock.now = NOON + 5 * HOUR + timedelta(minutes=50)
    await one.tick()
    assert await ledger(engine) == [(NOON, "done"), (NOON + 5 * HOUR, "done")]
    assert len(enqueued.jobs) == 2


async def test_a_late_slot_is_skipped_where_the_policy_says_so(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    await schedule(engine, enqueued, clock, task=SKIP).tick()
    assert enqueued.jobs == []
    assert await ledger(engine) == [(NOON, "skipped")]


async def test_a_slot_whose_worker_died_runs_again_after_its_lease(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    assert await Ledger(engine, "dead").claim([Slot("hourly", NOON)], timedelta(seconds=60))
    survivor = schedule(engine, enqueued, clock)
    due = await survivor.tick()
    assert enqueued.jobs == []
    assert clock.now < due <= clock.now + timedelta(seconds=60)
    await expire_leases(engine)
    await survivor.tick()
    assert enqueued.jobs == [Prune()]


async def test_an_unfinished_slot_is_not_late_where_late_slots_are_skipped(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    await Ledger(engine, "dead").claim([Slot("hourly", NOON)], timedelta(0))
    await schedule(engine, enqueued, clock, task=SKIP).tick()
    assert enqueued.jobs == [Prune()]


async def test_a_worker_that_lost_its_lease_cannot_settle_the_slot(engine: AsyncEngine) -> None:
    slow, quick = Ledger(engine, "slow"), Ledger(engine, "quick")
    assert await slow.claim([Slot("hourly", NOON)], timedelta(0))
    assert await quick.claim([Slot("hourly", NOON)], HOUR)
    await slow.done({Slot("hourly", NOON): None})
    assert await ledger(engine) == [(NOON, "claimed")]
    await quick.done({Slot("hourly", NOON): None})
    assert await ledger(engine) == [(NOON, "done")]


async def test_a_host_whose_clock_is_behind_begins_no_older_slot(engine: AsyncEngine) -> None:
    assert await Ledger(engine, "right").claim([Slot("hourly", NOON)], HOUR)
    assert not await Ledger(engine, "behind").claim([Slot("hourly", NOON - HOUR)], HOUR)
    older = Slot("hourly", NOON - HOUR)
    assert (await Ledger(engine, "behind").states([older]))[older].settled


async def test_a_slot_that_a_wrong_clock_claimed_ahead_of_time_keeps_no_other_from_running(
    engine: AsyncEngine, enqueued: Jobs
) -> None:
    async with engine.connect() as connection:
        now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    ahead = HOURLY.newest(now) + timedelta(days=30)
    assert await Ledger(engine, "ahead").claim([Slot("hourly", ahead)], HOUR)
    one = Schedule([HOURLY], Ledger(engine, "a"), enqueued, enqueued.is_open, GRACE)
    # By Postgres' clock, which it asks for itself: the host's own may be wrong.
    due = await one.tick()
    assert enqueued.jobs == [Prune()]
    assert now < due <= now + 2 * HOUR


async def test_without_the_queue_a_slot_is_given_back_and_tried_again(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
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
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    await Ledger(engine, "dead").claim([Slot("hourly", NOON)], timedelta(0))
    clock.now = NOON + HOUR
    await schedule(engine, enqueued, clock).tick()
    assert await ledger(engine) == [(NOON, "skipped"), (NOON + HOUR, "done")]


async def test_where_all_late_slots_are_run_each_runs_once_in_its_order(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    await schedule(engine, enqueued, clock, task=ALL).tick()
    assert await ledger(engine) == [(NOON, "done")]  # a task that never ran owes nothing older
    await Ledger(engine, "dead").claim([Slot("hourly", NOON + HOUR)], timedelta(0))
    clock.now = NOON + 4 * HOUR + timedelta(minutes=1)
    workers = [schedule(engine, enqueued, clock, name, ALL) for name in "abc"]
    await asyncio.gather(*(worker.tick() for worker in workers))
    assert await ledger(engine) == [(NOON + number * HOUR, "done") for number in range(5)]
    assert len(enqueued.jobs) == 5
    assert await workers[0].tick() == NOON + 5 * HOUR


async def test_slots_that_passed_in_a_pause_are_not_owed_afterwards(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    one = schedule(engine, enqueued, clock, task=ALL)
    await one.tick()
    async with engine.begin() as connection:
        await connection.execute(insert(schedule_pauses).values(task="hourly", actor="ops"))
    clock.now = NOON + 3 * HOUR
    assert await one.tick() == NOON + 4 * HOUR
    async with engine.begin() as connection:
        await connection.execute(delete(schedule_pauses))
    await schedule(engine, enqueued, clock, task=ALL).tick()
    assert len(enqueued.jobs) == 1
    clock.now = NOON + 4 * HOUR
    await one.tick()
    assert len(enqueued.jobs) == 2


async def test_an_unfinished_slot_of_a_paused_task_is_not_asked_for_all_the_time(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    await Ledger(engine, "dead").claim([Slot("hourly", NOON)], timedelta(0))
    async with engine.begin() as connection:
        await connection.execute(insert(schedule_pauses).values(task="hourly", actor="ops"))
    assert await schedule(engine, enqueued, clock).tick() == clock.now + timedelta(seconds=5)
    assert enqueued.jobs == []


async def test_a_slot_is_skipped_while_the_last_ones_job_has_not_ended(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    one = schedule(engine, enqueued, clock)
    enqueued.stay_open = True
    await one.tick()
    clock.now = NOON + HOUR
    assert await one.tick() == NOON + 2 * HOUR
    enqueued.stay_open = False
    clock.now = NOON + 2 * HOUR
    await one.tick()
    states = ["done", "skipped", "done"]
    assert await ledger(engine) == [(NOON + number * HOUR, state) for number, state in enumerate(states)]
    assert len(enqueued.jobs) == 2


async def test_where_overlap_is_allowed_a_slot_runs_beside_the_last_ones_job(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    one = schedule(engine, enqueued, clock, task=OVERLAPPING)
    enqueued.stay_open = True
    await one.tick()
    clock.now = NOON + HOUR
    await one.tick()
    assert len(enqueued.jobs) == 2


async def test_a_run_by_hand_stands_in_no_slots_way(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    by_hand = {"task": "hourly", "slot": clock.now, "state": "done", "claimed_by": "by hand"}
    async with engine.begin() as connection:
        await connection.execute(
            insert(schedule_slots).values(**by_hand, lease_until=clock.now, asked_by="ops")
        )
    await schedule(engine, enqueued, clock).tick()
    assert enqueued.jobs == [Prune()]


async def test_postgres_away_only_delays_the_schedule(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    class AwayOnce(Ledger):
        away = True

        async def claim(
            self, wanted: Sequence[Slot], lease: timedelta, *, begin_older: bool = False
        ) -> set[Slot]:
            if self.away:
                self.away = False
                raise DatabaseUnavailable("Postgres does not answer")
            return await super().claim(wanted, lease, begin_older=begin_older)

    stop = asyncio.Event()

    async def enqueue_and_stop(job: Job) -> Enqueued:
        stop.set()
        return await enqueued(job)

    settings = ScheduleSettings(retry_s=0.01)
    one = Schedule([HOURLY], AwayOnce(engine, "a"), enqueue_and_stop, enqueued.is_open, settings, clock)
    async with asyncio.timeout(60):
        await one.run(stop)
    assert enqueued.jobs == [Prune()]


async def test_a_new_cron_entry_waits_for_its_next_slot(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    """A deployment at noon does not send the mails of six o'clock; an outage later on owes the newest."""
    clock.now = NOON
    one = schedule(engine, enqueued, clock, task=Cron("mails", Prune(), "0 6 * * *"))
    await one.tick()
    assert enqueued.jobs == []
    clock.now = NOON + timedelta(days=3)
    await one.tick()
    assert len(enqueued.jobs) == 1


async def test_tasks_that_are_due_together_run_once_each_over_many_workers(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    tasks = [replace(HOURLY, name=f"task_{number}") for number in range(20)]
    ledgers = [Ledger(engine, name) for name in "abc"]
    workers = [Schedule(tasks, one, enqueued, enqueued.is_open, GRACE, clock) for one in ledgers]
    await asyncio.gather(*(worker.tick() for worker in workers))
    assert await ledger(engine) == [(NOON, "done")] * 20
    assert len(enqueued.jobs) == 20


async def test_a_job_that_cannot_be_enqueued_holds_up_no_other_of_the_same_moment(
    engine: AsyncEngine, enqueued: Jobs, clock: Clock
) -> None:
    refused = Every("refused", Verify(), HOUR)

    async def enqueue(job: Job) -> Enqueued:
        if job == refused.job:
            raise QueueUnavailable("this one takes too long")
        return await enqueued(job)

    one = Schedule([refused, HOURLY], Ledger(engine, "a"), enqueue, enqueued.is_open, GRACE, clock)
    assert await one.tick() == clock.now + timedelta(seconds=5)
    assert sorted(await ledger(engine)) == [(NOON, "done"), (NOON, "failed")]
    assert enqueued.jobs == [Prune()]
