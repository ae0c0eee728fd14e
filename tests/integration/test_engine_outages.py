"""Servers that are away: jobs wait without using tries, and nobody has to clean up afterwards."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import embedded
from stoker.errors import CacheUnavailable, DatabaseUnavailable, QueueUnavailable, Unavailable
from stoker.jobs import JOBS, Job, KeepWarm, Lane, Refresh, Relay, RetryPolicy, Verify
from stoker.postgres import database_errors
from stoker.queue import wire
from stoker.queue.answers import Answer
from stoker.queue.enqueue import Queue
from stoker.stoker import Stoker
from stoker.worker.engine import retry
from stoker.worker.engine.dead_letters import DeadLetters, Which
from stoker.worker.engine.depth import depth
from stoker.worker.process import runner
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Keyed, Stage, Work, eventually, running, settled
from tests.support.notes import SCHEMA, NoteDeleted, Notes
from tests.support.place import Place

AWAY = (CacheUnavailable, DatabaseUnavailable, QueueUnavailable)


class Repeated(Work):
    """Work that the next one does as well."""

    kind = "test.repeated.v1"
    repeated = True
    retry = RetryPolicy(attempts=2, first=timedelta(milliseconds=1), longest=timedelta(milliseconds=1))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for as long as an outage lasts."""
    monkeypatch.setattr(retry, "SOONEST_S", 0.01)
    monkeypatch.setattr(retry, "LATEST_S", 0.05)
    monkeypatch.setitem(JOBS, Repeated.kind, Repeated)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("error", AWAY)
async def test_a_known_outage_uses_no_try_however_long_it_lasts(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, error: type[Unavailable]
) -> None:
    times = 3 * Work.retry.attempts

    async def away(_: int) -> str:
        if len(stage.runs) <= times:
            raise error("away")
        return "done"

    stage.acts["work"] = away
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work())
        await settled(queue, Lane.WARM, done=1, total_deferred=times, failed=0, dead=0)
    assert stage.runs == [("work", 1)] * (times + 1)
    assert [outcome for _, outcome in stage.ended] == ["postponed"] * times + ["done"]


@pytest.mark.usefixtures("soon")
async def test_an_outage_that_lasts_longer_than_a_day_is_none(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: int) -> str:
        raise CacheUnavailable("for ever")

    monkeypatch.setattr(retry, "OUTAGE_FOR_S", 0)
    stage.acts["work"] = away
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work())
        await settled(queue, Lane.WARM, dead=1, failed=Work.retry.attempts, deferred=0)


@pytest.mark.usefixtures("soon")
async def test_a_statement_that_takes_too_long_is_no_outage(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async def slow(_: int) -> str:
        with database_errors():
            async with sql.begin() as connection:
                await connection.execute(text("SET LOCAL statement_timeout = 10"))
                await connection.execute(text("SELECT pg_sleep(10)"))
        return "done"

    stage.acts["work"] = slow
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work())
        await settled(queue, Lane.WARM, dead=1, failed=Work.retry.attempts, deferred=0)
    (letter,) = await DeadLetters(sql).list(Which())
    assert letter.error.startswith("DatabaseUnavailable")


async def test_requests_that_join_a_postponed_job_do_not_bring_it_forward(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: int) -> str:
        raise CacheUnavailable("away")

    monkeypatch.setattr(retry, "SOONEST_S", 3600)
    monkeypatch.setattr(retry, "LATEST_S", 3600)
    stage.acts["one"] = away
    name = wire.queue_name(queue.settings, Lane.REFRESH)
    async with running(queue, queue_url, stage, sql):
        asked = await queue.enqueue(Keyed(name="one"))
        await settled(queue, Lane.REFRESH, deferred=1, running=0)
        before = await queue.redis.zscore(name, asked.job_id)
        again = await queue.enqueue(Keyed(name="one"))
        assert (again.job_id, again.answer) == (asked.job_id, Answer.COALESCED)
        assert await queue.redis.zscore(name, asked.job_id) == before
    assert stage.runs == [("one", 1)]


@pytest.mark.usefixtures("soon")
async def test_a_repeated_job_leaves_no_letter_of_an_outage_and_one_of_a_fault(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async def late(_: int) -> str:
        raise TimeoutError("a server that nobody knows is away")

    async def wrong(_: int) -> str:
        raise ValueError("a fault of the code")

    stage.acts |= {"late": late, "wrong": wrong}
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue_many([Repeated(name="late"), Repeated(name="wrong"), Work(name="late")])
        await settled(queue, Lane.WARM, dropped=1, dead=2, running=0, ready=0, deferred=0)
    letters = await DeadLetters(sql).list(Which())
    assert sorted((letter.kind, letter.reason) for letter in letters) == [
        (Repeated.kind, "failed"),
        (Work.kind, "exhausted"),
    ]


def test_jobs_that_are_asked_for_again_by_themselves_are_these() -> None:
    repeated = {kind for kind, job in JOBS.items() if job.repeated and not kind.startswith("test.")}
    assert repeated == {"relay.v1", "refresh.v1", "keep_warm.v1", "verify.v1"}


class Real(Stage):
    """What runs is what the worker process runs."""

    def __init__(self, stoker: Stoker) -> None:
        super().__init__()
        self._carry_out = runner(stoker)

    async def run(self, job_id: str, job: Job, attempt: int) -> str:
        """As the worker does."""
        return await self._carry_out(job_id, job, attempt)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("name", "postponed"),
    [
        ("cache", {"relay.v1", "keep_warm.v1", "verify.v1"}),
        ("postgres", {"relay.v1", "refresh.v1"}),
        ("queue", set()),
    ],
)
async def test_after_an_outage_of_a_server_no_dead_letter_is_left_to_discard(  # noqa: PLR0913 - fixtures
    queue: Queue,
    queue_url: str,
    sql: AsyncEngine,
    place: Place,
    servers: embedded.Embedded,
    *,
    name: str,
    postponed: set[str],
) -> None:
    async with sql.begin() as connection:
        for statement in SCHEMA:
            await connection.execute(text(statement))
        await connection.execute(text("INSERT INTO notes (id, body) VALUES (1, 'v1')"))
    server: embedded.Server = getattr(servers, name)
    async with Stoker.opened(place.settings(), Notes().domain) as stoker:
        real = Real(stoker)
        async with stoker.session() as session, session.begin():
            stoker.record(session, NoteDeleted(note_id=2, readers=()))
        await queue.enqueue_many([Relay(), Refresh(view="detail", scope_id="1"), KeepWarm(), Verify()])
        await asyncio.to_thread(server.stop)
        try:
            async with running(queue, queue_url, real, sql):
                await real.until(
                    lambda: {kind for kind, how in real.ended if how == "postponed"} >= postponed
                )
                await asyncio.to_thread(server.start)

                async def is_empty() -> bool:
                    lanes = (await depth(queue)).values()
                    return not any(lane.ready + lane.deferred + lane.running for lane in lanes)

                await eventually(is_empty)
        finally:
            await asyncio.to_thread(server.start)
    ended = {kind for kind, how in real.ended if how != "postponed"}
    assert ended == {"relay.v1", "refresh.v1", "keep_warm.v1", "verify.v1"}
    assert await DeadLetters(sql).list(Which()) == []
    assert all(lane.totals["failed"] == 0 for lane in (await depth(queue)).values())
