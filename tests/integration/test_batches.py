"""Batches: each end is counted once, whoever dies when; what follows is enqueued once, after the last one."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import Batch, Domain, Stoker, SyncStoker
from stoker.errors import BadRequest, QueueUnavailable, UnknownJob
from stoker.handlers.context import JobContext
from stoker.jobs import Job, Lane
from stoker.operations import batches as operations
from stoker.operations import dead
from stoker.operations.audit import Actor
from stoker.operations.dead import WhichDead
from stoker.operations.jobs import detail
from stoker.operations.overview import overview
from stoker.queue import batches
from stoker.queue.answers import CancelAnswer
from stoker.queue.batches import batch_of, enqueue_batch, latest
from stoker.queue.enqueue import Queue
from stoker.testing import drain
from stoker.worker.engine.dead_letters import DeadLetters, Which
from tests.library import domain as library
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Elsewhere, Stage, Turned, Work, eventually, running, settled
from tests.support.engine_workers import Start, start_worker  # noqa: F401
from tests.support.place import Place

W = Lane.WARM
THEN = Work(name="then")
NOW = timedelta(0)


def named(count: int, name: str = "w") -> list[Job]:
    """So many jobs."""
    return [Work(name=f"{name}{number}") for number in range(count)]


async def ended(queue: Queue, batch_id: str) -> Batch:
    """The batch once it has ended."""
    found: list[Batch] = []

    async def has_ended() -> bool:
        batch = await batch_of(queue, batch_id)
        assert batch is not None
        found.append(batch)
        return batch.ended_at is not None

    await eventually(has_ended)
    return found[-1]


def ends(batch: Batch) -> tuple[int, int, int, int]:
    """How many are done, failed, cancelled, unknown."""
    return batch.done, batch.failed, batch.cancelled, batch.unknown


async def test_what_follows_runs_once_when_all_have_ended(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("held")

    async def fails(_: int) -> str:
        raise LookupError("no such row")

    async def fails_once(attempt: int) -> str:
        if attempt == 1:
            raise TimeoutError
        return "done"

    stage.acts |= {"fails": fails, "fails once": fails_once}
    others = [Work(name="fails"), Work(name="fails once"), Work(name="held"), Elsewhere(), Turned(), Turned()]
    async with running(queue, queue_url, stage, sql):
        batch = await enqueue_batch(queue, [*named(3), *others], THEN, None, NOW)
        assert (batch.total, batch.added, len(set(batch.job_ids))) == (9, 9, 9)
        later = await enqueue_batch(queue, named(1), None, "later", timedelta(hours=1))
        assert await queue.cancel(later.job_ids[0]) is CancelAnswer.CANCELLED
        await settled(queue, W, running=1, ready=0, deferred=0)
        assert ("then", 1) not in stage.runs
        release.set()
        await stage.until(lambda: ("then", 1) in stage.runs)
        assert ends(await ended(queue, batch.batch_id)) == (8, 1, 0, 0)
        await settled(queue, W, ready=0, running=0)
    assert stage.runs.count(("then", 1)) == 1
    other = await ended(queue, "later")
    assert (ends(other), other.then_id) == ((0, 0, 1, 0), None)
    assert {one.batch_id for one in await latest(queue, 10)} == {batch.batch_id, "later"}
    left = [key async for key in queue.redis.scan_iter(f"{queue.settings.prefix}:batch*")]
    assert not [key for key in left if await queue.redis.ttl(key) < 0], "each is forgotten at last"


async def test_a_job_of_a_killed_worker_is_counted_once_by_who_runs_it_again(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    victim = await start_worker(claim_life_s="1.5")
    batch = await enqueue_batch(queue, [Work(name="hang"), *named(6, "slow")], THEN, None, NOW)
    await victim.says("hang 1")
    await victim.says("slow")
    await victim.ends_by(signal.SIGKILL)
    async with running(queue, queue_url, stage, sql, claim_life_s=1.5):
        await stage.until(lambda: ("then", 1) in stage.runs)
        assert ends(await ended(queue, batch.batch_id)) == (7, 0, 0, 0)
        await settled(queue, W, done=8, running=0)
    assert stage.runs.count(("then", 1)) == 1


async def test_a_job_that_kills_its_workers_has_failed(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    batch = await enqueue_batch(queue, [Work(name="die")], THEN, None, NOW)
    await queue.redis.set(f"{queue.settings.prefix}:rescues:{batch.job_ids[0]}", 3)
    async with running(queue, queue_url, stage, sql):
        await stage.until(lambda: ("then", 1) in stage.runs)
    assert ends(await ended(queue, batch.batch_id)) == (0, 1, 0, 0)
    (letter,) = await DeadLetters(sql).list(Which())
    assert letter.reason == "quarantined"


async def test_ends_that_nobody_counted_are_found(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    """A stock arq worker ran all of them, and deletes their keys."""
    batch = await enqueue_batch(queue, named(3), Elsewhere(name="then"), None, NOW)
    await queue.redis.delete(*(f"arq:job:{job_id}" for job_id in batch.job_ids))
    await queue.redis.delete(f"{queue.settings.prefix}:{W}")
    async with running(queue, queue_url, stage, sql, claim_life_s=0.3):
        await stage.until(lambda: stage.runs == [("then", 1)])
    assert ends(await ended(queue, batch.batch_id)) == (0, 0, 0, 3)


async def test_no_part_is_written_twice_and_none_is_the_last_too_early(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.queue.packing.JOBS_PER_CALL", 4)
    whole, calls = queue.connection.call, 0

    async def breaks(*arguments: Any) -> Any:  # noqa: ANN401 - call's
        nonlocal calls
        calls += 1
        found = await whole(*arguments)
        if calls == 2:
            raise QueueUnavailable("the answer is lost")
        return found

    jobs = named(10)
    async with running(queue, queue_url, stage, sql):
        with monkeypatch.context() as patch:
            patch.setattr(queue.connection, "call", breaks)
            with pytest.raises(QueueUnavailable):
                await enqueue_batch(queue, jobs, THEN, "again", NOW)
        await stage.until(lambda: len(stage.runs) == 8)
        await settled(queue, W, done=8, running=0)
        half = await batch_of(queue, "again")
        assert half is not None
        assert (half.added, half.done, half.ended_at) == (8, 8, None)
        for _ in range(2):
            assert (await enqueue_batch(queue, jobs, THEN, "again", NOW)).added == 10
            await stage.until(lambda: ("then", 1) in stage.runs)
        await settled(queue, W, done=11, running=0, ready=0)
    assert len(stage.runs) == 11


async def test_a_batch_that_the_queue_has_lost_is_reported(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.queue.packing.JOBS_PER_CALL", 4)
    whole = queue.connection.call

    async def erased(*arguments: Any) -> Any:  # noqa: ANN401 - call's
        found = await whole(*arguments)
        await queue.redis.delete(f"{queue.settings.prefix}:batch:lost")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(queue.connection, "call", erased)
        with pytest.raises(QueueUnavailable, match="lost its data while batch lost was enqueued"):
            await enqueue_batch(queue, named(5), None, "lost", NOW)
    assert await batch_of(queue, "lost") is None


class Part(Job):
    kind = "batch.part"
    lane = "sums"
    number: int


class Fails(Part):
    kind = "batch.fails"


class Stranger(Part):
    kind = "batch.stranger"


class Whole(Job):
    kind = "batch.whole"
    lane = "sums"


class Nested(Job):
    kind = "batch.nested"
    lane = "sums"


class Once(Part):
    kind = "batch.once"

    def coalesce_key(self) -> str:
        return "one"


TOLD: list[Batch | None] = []
NESTED: list[Batch] = []


async def part(_context: JobContext, job: Part) -> None:
    assert job.number != 13, "out of luck"


def whole(context: JobContext, _job: Whole) -> None:
    TOLD.append(context.batch)


async def nested(context: JobContext, _job: Nested) -> None:
    parts: Sequence[Job] = [Part(number=number) for number in range(3)]
    NESTED.append(await context.stoker.enqueue_batch(parts, then=Whole(), batch_id=context.job_id))
    if len(NESTED) == 1:
        raise TimeoutError


@pytest.fixture
def domain() -> Domain:
    TOLD.clear()
    NESTED.clear()
    handlers: dict[type[Job], Any] = {Part: part, Fails: part, Once: part, Whole: whole, Nested: nested}
    return replace(library, lanes=(Lane("sums", concurrency=4),), handlers=handlers)


async def test_the_handler_of_what_follows_is_told_how_many_ended_how(place: Place, domain: Domain) -> None:
    async with Stoker.opened(place.settings(), domain) as stoker:
        parts = [Part(number=number) for number in range(5)]
        asked = await stoker.enqueue_batch([*parts, Fails(number=13)], then=Whole())
        drained = await drain(stoker, raises=False)
        assert [one.outcome for one in drained.of(Whole)] == ["done"]
        (told,) = TOLD
        assert told == await stoker.batch(asked.batch_id)
        assert told is not None
        assert ends(told) == (5, 1, 0, 0)
        assert (await stoker.enqueue_batch([], then=Whole())).total == 0
        await drain(stoker)
        assert TOLD[1] is not None
        assert TOLD[1].total == 0
        assert await stoker.batch("never was") is None
        # A dead letter that runs again is a new job, of no batch.
        await dead.retry(stoker, Actor("tests", "test"), WhichDead(all=True))
        await drain(stoker, raises=False)
        assert ends((await stoker.batch(asked.batch_id)) or asked) == (5, 1, 0, 0)
        assert len(TOLD) == 2


async def test_a_handler_that_runs_again_makes_no_second_batch(place: Place, domain: Domain) -> None:
    async with Stoker.opened(place.settings(), domain) as stoker:
        await stoker.enqueue(Nested())
        drained = await drain(stoker, raises=False, later=True)
    assert len(NESTED) == 2
    assert len(drained.of(Part)) == 3
    assert len(drained.of(Whole)) == 1


async def test_what_cannot_be_a_batch_is_refused_before_anything_is_written(
    place: Place, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_MEMBERS", 3)
    async with Stoker.opened(place.settings(), domain) as stoker:
        fine = [Part(number=1)]
        for jobs, then, batch_id, said in (
            ([Once(number=1)], None, None, r"batch\.once has a coalesce key: .*Use a kind without"),
            (fine, Once(number=1), None, "has a coalesce key"),
            (fine, None, "a b", "batch_id must be 1 to 50 letters, digits"),
            (fine, None, "", "batch_id must be"),
            (fine, None, "x" * 51, "batch_id must be"),
            (fine * 4, None, None, "a batch of 4 jobs; at most 3: make several batches"),
        ):
            with pytest.raises(BadRequest, match=said):
                await stoker.enqueue_batch(jobs, then=then, batch_id=batch_id)
        stranger = Stranger(number=1)
        with pytest.raises(UnknownJob):
            await stoker.enqueue_batch([*fine, stranger])
        with pytest.raises(UnknownJob):
            await stoker.enqueue_batch(fine, then=stranger)
        await stoker.enqueue_batch(fine, batch_id="taken")
        with pytest.raises(BadRequest, match="there is a batch taken of another number of jobs"):
            await stoker.enqueue_batch(fine * 2, batch_id="taken")
        assert len(await latest(stoker.queue, 10)) == 1


async def test_operators_see_open_and_ended_batches(place: Place, domain: Domain) -> None:
    async with Stoker.opened(place.settings(), domain) as stoker:
        ended_one = await stoker.enqueue_batch([Part(number=1)], then=Whole())
        await drain(stoker)
        opened = await stoker.enqueue_batch([Part(number=1), Part(number=2)])
        assert await stoker.cancel(opened.job_ids[0]) is CancelAnswer.CANCELLED
        listed = (await operations.listing(stoker, 10)).batches
        assert [(one.batch_id, one.total, one.done, one.cancelled) for one in listed] == [
            (opened.batch_id, 2, 0, 1),
            (ended_one.batch_id, 1, 1, 0),
        ]
        seen = (await overview(stoker, 5)).batches
        assert seen is not None
        assert [one.batch_id for one in seen] == [opened.batch_id]
        shown = (await detail(stoker, opened.job_ids[1])).batch
        assert shown is not None
        assert (shown.batch_id, shown.ended_at) == (opened.batch_id, None)


def test_a_thread_enqueues_a_batch_and_what_follows(place: Place, domain: Domain) -> None:
    with SyncStoker(place.settings(), domain) as sync:
        parts = [Part(number=number) for number in range(3)]
        batch = sync.enqueue_batch([*parts, Fails(number=13)], then=Whole(), batch_id="of-threads")
        assert len(batch.job_ids) == len(set(batch.job_ids)) == 4
        again = sync.enqueue_batch([*parts, Fails(number=13)], then=Whole(), batch_id="of-threads")
        assert again.job_ids == batch.job_ids, "a call that is repeated writes nothing twice"
        sync.call(lambda stoker: drain(stoker, raises=False))
        found = sync.batch("of-threads")
        assert found is not None
        assert (found.total, *ends(found)) == (4, 3, 1, 0, 0)
        assert [found] == TOLD
