"""Unexpected values written to the queue by anybody who can: no lane stops, no job is lost."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import QueueUnavailable
from stoker.jobs import Lane
from stoker.queue import wire
from stoker.queue.batches import batch_of
from stoker.queue.enqueue import Queue
from stoker.queue.progress import Progress
from stoker.worker.engine import verdict
from stoker.worker.engine.claims import MOST_SLOTS, Claims, Ending, Finish
from stoker.worker.engine.dead_letters import DeadLetters, Which
from stoker.worker.engine.depth import depth
from stoker.worker.engine.letter import Letter
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Keyed, Stage, Work, running, settled

Spoil = Callable[[Any, str, str], Awaitable[Any]]
"""What a stranger does, told the prefix and the id of a job that waits in the lane `refresh`."""
NUMBERS = {"nan": "nan", "inf": "inf", "minus": "-1e300", "text": "abc", "long": "9" * 40}


def _score(value: float) -> Spoil:
    return lambda redis, prefix, job_id: redis.zadd(f"{prefix}:refresh", {job_id: value})


def _written(key: str, value: str) -> Spoil:
    return lambda redis, prefix, job_id: redis.set(key.format(p=prefix, id=job_id), value)


def _of_another_type(key: str) -> Spoil:
    async def spoil(redis: Any, prefix: str, job_id: str) -> None:  # noqa: ANN401 - the driver's
        name = key.format(p=prefix, id=job_id)
        await redis.delete(name)
        await redis.rpush(name, "x")

    return spoil


def _in_hash(key: str, field: str, value: str) -> Spoil:
    return lambda redis, prefix, job_id: redis.hset(
        key.format(p=prefix, id=job_id), field.format(p=prefix), value
    )


COUNTS = ("arq:retry:{id}", "{p}:rescues:{id}", "{p}:clock", "{p}:refresh:rate")
MARKS = ("arq:in-progress:{id}", "{p}:suspect:x", "{p}:begun:0")
STRANGE: dict[str, Spoil] = {
    "a score of -inf": _score(-inf),
    "a negative score": _score(-1e300),
    **{f"{key} = {name}": _written(key, number) for key in COUNTS for name, number in NUMBERS.items()},
    **{f"{key} is a list": _of_another_type(key) for key in (*COUNTS, *MARKS)},
    **{
        f"concurrency = {number}": _in_hash("{p}:concurrency", "{p}:refresh", number)
        for number in NUMBERS.values()
    },
    **{f"total = {number}": _in_hash("{p}:refresh:totals", "done", number) for number in ("nan", "9" * 19)},
}


@pytest.mark.parametrize("name", STRANGE)
async def test_no_value_that_a_stranger_wrote_stops_a_lane_or_leaks_a_slot(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, name: str
) -> None:
    asked = await queue.enqueue(Keyed(name="strange"))
    await STRANGE[name](queue.redis, queue.settings.prefix, asked.job_id)
    async with running(queue, queue_url, stage, sql, concurrency=1, claim_life_s=1.5, rate_per_s=1000):
        await stage.until(lambda: bool(stage.ended))
        await settled(queue, Lane.REFRESH, running=0, ready=0)
        found = await queue.enqueue_many([Keyed(name=str(number)) for number in range(3)])
        await stage.until(lambda: len(stage.ended) == 1 + len(found))
        await settled(queue, Lane.REFRESH, running=0, ready=0, deferred=0)


async def test_a_job_due_at_minus_infinity_runs_and_counts_as_one_that_did_not_wait(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    asked = await queue.enqueue(Work())
    await queue.redis.zadd(wire.queue_name(queue.settings, Lane.WARM), {asked.job_id: -inf})
    assert (await depth(queue))[Lane.WARM].oldest_ready_age_s == 0
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, done=1, running=0)
    assert stage.waits_s == [0.0]


async def test_a_run_number_beyond_all_makes_a_dead_letter_at_once(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    raw = wire.serialize({"t": 10**30, "f": Work.kind, "a": [{}], "k": {}, "et": 10**400})
    await queue.redis.set("arq:job:beyond", raw, px=60_000)
    await queue.redis.zadd(wire.queue_name(queue.settings, Lane.WARM), {"beyond": time.time() * 1000})
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=1, running=0, ready=0)
    (letter,) = await DeadLetters(sql).list(Which())
    assert (letter.reason, letter.attempts) == ("undecodable", 0)
    assert stage.runs == []


async def test_a_job_at_which_the_engine_itself_fails_is_quarantined_at_once(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = verdict.read

    def failing(*arguments: Any) -> Any:  # noqa: ANN401 - as it is called
        found = read(*arguments)
        if getattr(getattr(found, "arguments", None), "name", "") == "unforeseen":
            raise ZeroDivisionError("nobody foresaw this")
        return found

    monkeypatch.setattr(verdict, "read", failing)
    await queue.enqueue_many([Work(name="unforeseen")] * 3)
    async with running(queue, queue_url, stage, sql, concurrency=1):
        await queue.enqueue(Work(name="next"))
        await settled(queue, Lane.WARM, done=1, dead=3, running=0, ready=0, deferred=0, rescued=0)
    letters = await DeadLetters(sql).list(Which())
    assert {letter.reason for letter in letters} == {"quarantined"}
    assert "nobody foresaw this" in letters[0].error
    assert letters[0].raw


async def test_an_end_that_cannot_be_written_holds_up_no_other(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Claims.finish

    async def refusing(self: Claims, ends: list[Finish]) -> list[bool]:
        if any(end.ending is Ending.PARK for end in ends):
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return await finish(self, ends)

    monkeypatch.setattr(Claims, "finish", refusing)
    raw = wire.serialize({"t": None, "f": "nobody.knows.v1", "a": [], "k": {}, "et": 1})
    await queue.redis.set("arq:job:unwritable", raw, px=60_000)
    await queue.enqueue_many([Work(name=str(number)) for number in range(10)])
    await queue.redis.zadd(wire.queue_name(queue.settings, Lane.WARM), {"unwritable": 2})
    async with running(queue, queue_url, stage, sql, concurrency=20):
        await settled(queue, Lane.WARM, done=10)


@pytest.mark.parametrize(
    ("written", "slots"), [("abc", None), ("-3", None), ("nan", None), ("7", 7), ("9" * 30, MOST_SLOTS)]
)
async def test_a_concurrency_that_is_no_number_is_none(queue: Queue, written: str, slots: int | None) -> None:
    redis: Any = queue.redis
    await redis.hset(
        wire.concurrency_name(queue.settings), wire.queue_name(queue.settings, Lane.WARM), written
    )
    assert (await depth(queue))[Lane.WARM].slots == slots


async def test_a_key_of_another_type_is_an_unavailable_queue_and_no_unknown_error(queue: Queue) -> None:
    redis: Redis = queue.redis
    await redis.set(f"{queue.settings.prefix}:warm:running", "not a set")
    with pytest.raises(QueueUnavailable, match="WRONGTYPE"):
        await depth(queue)


@pytest.mark.parametrize("state", ["", "resting", "done"])
@pytest.mark.parametrize("number", ["nan", "9" * 40, "-1"])
async def test_progress_that_a_stranger_wrote_is_read_or_is_none(
    queue: Queue, state: str, number: str
) -> None:
    redis: Any = queue.redis
    fields = {"state": state, "done": number, "total": number, "updated_ms": number, "left_off": number}
    await redis.hset(f"{queue.settings.prefix}:progress:it", b"\xef", b"\xef", mapping=fields)
    progress = Progress(queue.redis, queue.settings)
    found = await progress.read("it")
    assert (found is None) == (state != "done")
    assert await progress.left_off("it") >= 0


async def test_a_batch_that_a_stranger_wrote_is_read(queue: Queue) -> None:
    redis: Any = queue.redis
    await redis.hset(f"{queue.settings.prefix}:batch:it", mapping={"total": "abc", b"\xef": b"\xef"})
    found = await batch_of(queue, "it")
    assert found is not None
    assert (found.total, found.ended_at) == (0, None)


async def test_letters_of_one_id_that_was_used_again_lie_side_by_side(sql: AsyncEngine) -> None:
    letters = DeadLetters(sql)
    first = Letter("report", Lane.WARM, "failed", 1, "one", "f" * 32, kind="a.v1", enqueued_ms=1_000)
    second = Letter("report", Lane.WARM, "failed", 1, "two", "f" * 32, kind="a.v1", enqueued_ms=2_000)
    for letter in (first, second, second, first):
        await letters.bury(letter)
    found = {(letter.error, letter.job_id.partition("~")[0]) for letter in await letters.list(Which())}
    assert found == {("one", "report"), ("two", "report")}
    assert (await letters.count(Which())).letters == 2


async def test_a_letter_that_postgres_refuses_is_kept_as_bytes(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Letter.row

    def unstorable(self: Letter) -> dict[str, Any]:
        found = row(self)
        return found if self.raw else {**found, "error": "\0"}

    async def wrong(_: int) -> str:
        raise ValueError("wrong")

    monkeypatch.setattr(Letter, "row", unstorable)
    stage.acts["refused"] = wrong
    await queue.enqueue(Work(name="refused"))
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=1, running=0)
    (letter,) = await DeadLetters(sql).list(Which())
    assert letter.raw
