"""Jobs that cannot be run: kept where an operator finds them, parked or dead, never destroyed."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import base64
import pickle
import secrets
import time

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import UnknownView
from stoker.jobs import JOBS, Lane
from stoker.queue import wire
from stoker.queue.answers import Answer
from stoker.queue.enqueue import Queue
from stoker.worker.engine import lane
from stoker.worker.engine.claims import FAR_MS
from stoker.worker.engine.dead_letters import DeadLetters, Retried, Which
from stoker.worker.engine.verdict import PARKED_FOR_S
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Keyed, Stage, Work, running, settled

POISON = {
    "pickle": pickle.dumps({"t": None, "f": "f", "a": (), "k": {}, "et": 1}),
    "no json": b"\xff\xfe nothing",
    "no object": b"[1, 2]",
    "a key is missing": b'{"t":null,"f":"test.work.v1","a":[]}',
    "deep nesting": b"[" * 100_000,
    "deep enough to read, too deep to write": b'{"t":null,"f":"f","a":[%s],"k":{},"et":1}'
    % (b"[" * 900 + b"]" * 900),
    "a number that is none": b'{"t":null,"f":"test.work.v1","a":[{"name":NaN}],"k":{},"et":1}',
    "a number beyond all": b'{"t":null,"f":"test.work.v1","a":[{"name":1e400}],"k":{},"et":1}',
    "a name that is half a character": b'{"t":null,"f":"\\ud800","a":[],"k":{},"et":1}',
    "a long name": wire.serialize({"t": None, "f": "f" * 65, "a": [], "k": {}, "et": 1}),
    "a name that is a list": wire.serialize({"t": None, "f": [], "a": [], "k": {}, "et": 1}),
    "two arguments": wire.serialize({"t": None, "f": "test.work.v1", "a": [{}, {}], "k": {}, "et": 1}),
}


async def put(queue: Queue, raw: bytes, lane: Lane = Lane.WARM) -> str:
    """Lay bytes into the queue, as anybody with a Redis client can."""
    job_id = secrets.token_hex(8)
    await queue.redis.set(f"arq:job:{job_id}", raw, px=60_000)
    await queue.redis.zadd(wire.queue_name(queue.settings, lane), {job_id: 1})
    return job_id


@pytest.mark.parametrize("name", POISON)
async def test_bytes_that_are_no_job_become_a_dead_letter_that_keeps_them(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, name: str
) -> None:
    job_id = await put(queue, POISON[name])
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=1, running=0, ready=0)
        await queue.enqueue(Work())
        await settled(queue, Lane.WARM, done=1)
    (letter,) = await DeadLetters(sql).list(Which())
    assert (letter.job_id, letter.reason) == (job_id, "undecodable")
    assert base64.b64decode(letter.raw or "") == POISON[name]


async def test_arguments_that_no_job_takes_are_dead_and_named(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    await put(queue, wire.serialize({"t": 1, "f": Work.kind, "a": [{"nam": "x"}], "k": {}, "et": 5}))
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=1)
    (letter,) = await DeadLetters(sql).list(Which(kind=Work.kind))
    assert letter.payload == {"nam": "x"}
    assert "nam" in letter.error


async def test_arguments_that_postgres_cannot_hold_are_kept_as_bytes(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async def wrong(_: int) -> str:
        raise ValueError("nul \0 and a lone surrogate \ud800")

    stage.acts["a\0b"] = wrong
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="a\0b"))
        await settled(queue, Lane.WARM, dead=1)
    (letter,) = await DeadLetters(sql).list(Which())
    assert letter.payload is None
    assert base64.b64decode(letter.raw or "") == b'{"name": "a\\u0000b"}'


async def test_a_payload_that_expired_is_recorded(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    asked = await queue.enqueue(Work())
    await queue.redis.delete(f"arq:job:{asked.job_id}")
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=1, running=0)
    (letter,) = await DeadLetters(sql).list(Which())
    assert (letter.job_id, letter.reason) == (asked.job_id, "expired")


async def test_a_kind_of_a_newer_release_is_parked_and_runs_after_the_upgrade(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    # RACES 30.
    older = {kind: job for kind, job in JOBS.items() if kind != Keyed.kind}
    first = await queue.enqueue(Keyed(name="new"))
    async with running(queue, queue_url, stage, sql, job_types=older):
        await settled(queue, Lane.REFRESH, parked=1, running=0, ready=0, deferred=0)
        # What is parked still waits: requests of its key join it.
        again = await queue.enqueue(Keyed(name="new"))
        assert (again.job_id, again.answer) == (first.job_id, Answer.COALESCED)
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.REFRESH, done=1, ready=0, deferred=0)
    assert stage.runs == [("new", 1)]
    assert await DeadLetters(sql).list(Which()) == []


async def test_a_view_of_a_newer_release_is_parked_and_built_by_the_newer_worker(
    queue: Queue, queue_url: str, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RACES 30. Both know the job; what it is about only one of them knows.
    monkeypatch.setattr(lane, "OFFER_PARKED_S", 0)
    older, newer = Stage(), Stage()
    older.acts["forecast"] = _unknown_view
    await queue.enqueue(Keyed(name="forecast"))
    async with running(queue, queue_url, older, sql, claim_life_s=1.5):
        await older.until(lambda: older.ended.count((Keyed.kind, "parked")) > Keyed.retry.attempts)
    async with running(queue, queue_url, newer, sql):
        await settled(queue, Lane.REFRESH, done=1, ready=0, deferred=0)
    assert newer.runs == [("forecast", 1)]
    assert await DeadLetters(sql).list(Which()) == []


async def test_a_view_that_nobody_has_known_for_an_hour_is_not_parked_for_ever(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    stage.acts["forecast"] = _unknown_view
    asked_ms = int((time.time() - PARKED_FOR_S - 1) * 1000)
    await put(
        queue,
        wire.serialize({"t": None, "f": Work.kind, "a": [{"name": "forecast"}], "k": {}, "et": asked_ms}),
    )
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=1, running=0, ready=0)
    (letter,) = await DeadLetters(sql).list(Which())
    assert (letter.reason, letter.error) == ("failed", "UnknownView: no view 'forecast'")


async def _unknown_view(_: int) -> str:
    raise UnknownView("no view 'forecast'", field="view")


async def test_parked_jobs_hide_none_behind_them_however_many_they_are(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "OFFER_PARKED_S", 0)  # the second offer without the pause before it
    raw = wire.serialize({"t": None, "f": "nobody.knows.v1", "a": [], "k": {}, "et": 1})
    known = await queue.enqueue(Work(name="behind them"))
    ids = [*(f"unknown-{number:04}" for number in range(1_500)), known.job_id]
    lane_name = wire.queue_name(queue.settings, Lane.WARM)
    await queue.redis.mset({f"arq:job:{job_id}": raw for job_id in ids[:-1]})
    await queue.redis.zadd(lane_name, dict.fromkeys(ids, time.time() * 1000 + FAR_MS))
    await queue.redis.zadd(f"{lane_name}:parked", {job_id: place for place, job_id in enumerate(ids)})
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, done=1)
    assert stage.runs == [("behind them", 1)]


async def test_two_releases_together_run_what_only_the_newer_one_knows(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    older = {kind: job for kind, job in JOBS.items() if kind != Work.kind}
    async with running(queue, queue_url, Stage(), sql, job_types=older):
        await queue.enqueue_many([Work(name=str(number)) for number in range(10)])
        await settled(queue, Lane.WARM, ready=0, running=0, deferred=0)
        async with running(queue, queue_url, stage, sql, concurrency=10):
            await settled(queue, Lane.WARM, done=10)


async def test_dead_letters_are_counted_retried_and_discarded(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async def wrong(_: int) -> str:
        raise ValueError("wrong")

    letters = DeadLetters(sql)
    stage.acts["wrong"] = wrong
    await put(queue, b"no json")
    await queue.enqueue_many([Work(name="wrong")] * 3)
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=4)
        assert (await letters.count(Which(kind=Work.kind))).letters == 3
        assert await letters.count_by_lane() == {"warm": 4}
        newest, *_ = await letters.list(Which(kind=Work.kind), limit=1)
        assert newest.error == "ValueError: wrong"
        assert "in wrong" in (newest.traceback or "")
        del stage.acts["wrong"]
        assert await letters.retry(Which(id=newest.id), queue) == Retried(retried=1, unreadable=0)
        await settled(queue, Lane.WARM, done=1)
        assert await letters.retry(Which(), queue) == Retried(retried=2, unreadable=1)
        await settled(queue, Lane.WARM, done=3)
    assert await letters.discard(Which()) == 1
    assert await letters.list(Which()) == []
