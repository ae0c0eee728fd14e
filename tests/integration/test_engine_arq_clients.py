"""A stock arq client beside Stoker's own: what it aborts does not run, what it waits for it can wait for."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.jobs import Job, JobStatus, ResultNotFound
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Lane
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.worker.engine.dead_letters import DeadLetters, Which
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Elsewhere, Keyed, Long, Stage, Work, eventually, running, settled

AT_ONCE_S = 0.05


@pytest.fixture
async def client(queue: Queue, queue_url: str) -> AsyncIterator[ArqRedis]:
    """As an application that has used arq so far opens it."""
    opened = await create_pool(
        RedisSettings.from_dsn(queue_url),
        job_serializer=wire.serialize,
        job_deserializer=wire.deserialize,
        default_queue_name=wire.queue_name(queue.settings, Lane.WARM),
    )
    yield opened
    await opened.aclose(close_connection_pool=True)


async def asked(client: ArqRedis, name: str, *, job_id: str | None = None, **options: object) -> Job:
    """A job that the stock client has enqueued."""
    job = await client.enqueue_job(Long.kind, {"name": name}, _job_id=job_id, **options)  # type: ignore[arg-type]
    assert job is not None
    return job


async def aborts(queue: Queue, job_id: str) -> bool:
    """Whether arq's list of aborts still names the job."""
    return await queue.redis.zscore(wire.ABORTS, job_id) is not None


async def test_a_deferred_job_that_is_aborted_never_runs(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, client: ArqRedis
) -> None:
    async with running(queue, queue_url, stage, sql):
        job = await asked(client, "later", _defer_by=timedelta(hours=1))
        assert await job.abort(timeout=30, poll_delay=AT_ONCE_S) is False, (
            "no result is kept: arq cannot tell"
        )
        await settled(queue, Lane.WARM, cancelled=1, running=0, ready=0, deferred=0)
    assert stage.runs == []
    assert not await aborts(queue, job.job_id)
    assert not await queue.redis.exists(f"arq:job:{job.job_id}")


async def test_an_abort_that_is_half_written_waits_for_its_other_half(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, client: ArqRedis
) -> None:
    """`abort` makes a deferred job due first, and writes down only then that it is to be aborted."""
    name = wire.queue_name(queue.settings, Lane.WARM)
    job = await asked(client, "later", _defer_by=timedelta(hours=1))
    async with running(queue, queue_url, stage, sql):
        await queue.redis.zadd(name, {job.job_id: 1})
        await queue.resume(Lane.WARM)  # rings

        async def was_seen() -> bool:
            score = await queue.redis.zscore(name, job.job_id)
            return score is not None and score != 1

        await eventually(was_seen)
        await queue.redis.zadd(wire.ABORTS, {job.job_id: 1})
        await settled(queue, Lane.WARM, cancelled=1, running=0)
    assert stage.runs == []


async def test_a_waiting_and_a_parked_job_can_be_aborted(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, client: ArqRedis
) -> None:
    await queue.pause(Lane.WARM)
    waiting = await asked(client, "waiting")
    strange = await client.enqueue_job("nobody.knows.v1")
    assert strange is not None
    await queue.redis.zadd(wire.ABORTS, {waiting.job_id: 1})
    async with running(queue, queue_url, stage, sql):
        await queue.resume(Lane.WARM)
        await settled(queue, Lane.WARM, cancelled=1, parked=1)
        await strange.abort(timeout=30, poll_delay=AT_ONCE_S)
        await settled(queue, Lane.WARM, cancelled=2, running=0, ready=0, deferred=0)
        assert not await queue.redis.exists(f"{wire.queue_name(queue.settings, Lane.WARM)}:parked")
    assert stage.runs == []


async def test_an_aborted_job_lets_the_next_of_its_key_run(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, client: ArqRedis
) -> None:
    first = await queue.enqueue(Keyed(name="one"), delay=timedelta(hours=1))
    name = wire.queue_name(queue.settings, Lane.REFRESH)
    async with running(queue, queue_url, stage, sql):
        await Job(first.job_id, client, name, wire.deserialize).abort(timeout=30, poll_delay=AT_ONCE_S)
        await settled(queue, Lane.REFRESH, cancelled=1)
        await queue.enqueue(Keyed(name="one"))
        await settled(queue, Lane.REFRESH, done=1, ready=0, deferred=0)
    assert stage.runs == [("one", 1)]


async def test_a_running_job_is_aborted_once_and_its_result_is_waited_for_meanwhile(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, client: ArqRedis
) -> None:
    stage.hold("slow")
    async with running(queue, queue_url, stage, sql, claim_life_s=1.5):
        job = await asked(client, "slow")
        await stage.until(lambda: bool(stage.runs))
        assert await job.status() is JobStatus.in_progress
        with pytest.raises(asyncio.TimeoutError):
            await job.result(timeout=AT_ONCE_S, poll_delay=AT_ONCE_S)
        await job.abort(timeout=30, poll_delay=AT_ONCE_S)
        await settled(queue, Lane.WARM, cancelled=1, running=0, ready=0, deferred=0)
    assert stage.runs == [("slow", 1)]
    assert not await aborts(queue, job.job_id)


async def test_a_result_is_waited_for_until_the_job_has_ended(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, client: ArqRedis
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql):
        job = await asked(client, "slow")
        waiting = asyncio.create_task(job.result(timeout=30, poll_delay=AT_ONCE_S))
        await stage.until(lambda: bool(stage.runs))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 3 * AT_ONCE_S)
        release.set()
        with pytest.raises(ResultNotFound):  # none is kept; before, it was raised while the job ran
            await waiting


async def test_a_running_job_that_somebody_makes_due_again_is_not_run_beside_itself(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql):
        job = await queue.enqueue(Work(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        await queue.redis.zadd(wire.queue_name(queue.settings, Lane.WARM), {job.job_id: 2})
        await queue.enqueue(Work(name="next"))
        await stage.until(lambda: ("next", 1) in stage.runs)
        release.set()
        await settled(queue, Lane.WARM, done=2, ready=0, deferred=0, running=0)
    assert stage.runs == [("slow", 1), ("next", 1)]


async def test_the_list_of_aborts_keeps_nothing_of_jobs_that_are_gone(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    gone = {f"{queue.settings.prefix}-{number}": number for number in range(500)}
    await queue.redis.zadd(wire.ABORTS, gone)
    there = await queue.enqueue(Elsewhere(), delay=timedelta(hours=1))
    await queue.redis.zadd(wire.ABORTS, {there.job_id: 1})
    async with running(queue, queue_url, stage, sql, claim_life_s=1.5):

        async def are_forgotten() -> bool:
            return not any(await queue.redis.zmscore(wire.ABORTS, list(gone)))

        await eventually(are_forgotten)
    assert await aborts(queue, there.job_id), "it waits: its abort counts when it is due"
    await queue.cancel(there.job_id)
    assert not await aborts(queue, there.job_id)


async def test_an_id_that_was_used_again_has_a_dead_letter_for_each_death(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, client: ArqRedis
) -> None:
    async def wrong(_: int) -> str:
        raise ValueError("wrong")

    stage.acts |= {"first": wrong, "second": wrong}
    async with running(queue, queue_url, stage, sql):
        for number, name in enumerate(("first", "second"), 1):
            await asked(client, name, job_id=f"{queue.settings.prefix}-report")
            await settled(queue, Lane.WARM, dead=number, running=0)
    letters = await DeadLetters(sql).list(Which())
    assert {letter.payload["name"] for letter in letters} == {"first", "second"}
