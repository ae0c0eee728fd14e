"""A job's way through the engine: enqueued, started, retried, deferred, stopped."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.jobs import Job, JobStatus
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import Defer, QueueUnavailable, Unavailable
from stoker.jobs import Lane, Relay
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.queue.progress import JobState, Progress
from stoker.settings import QueueSettings
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Hasty, Stage, Work, running, settled

NO_UPKEEP_S = 86_400
"""A life of claims with which upkeep, which finds due jobs too, does not come round in a test."""


async def test_a_job_runs_at_once_and_leaves_nothing_behind(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="first"))
        await stage.until(lambda: stage.ended == [("test.work.v1", "done")])
        asked = await queue.enqueue(Work(name="second"))
        await stage.until(lambda: len(stage.ended) == 2)
        found = await settled(queue, Lane.WARM, done=2, running=0)
    assert stage.runs == [("first", 1), ("second", 1)]
    assert found.ready == found.deferred == 0
    assert [key async for key in queue.redis.scan_iter(f"*{asked.job_id}*")] == []


async def test_the_bell_wakes_an_idle_lane(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async with running(queue, queue_url, stage, sql, claim_life_s=NO_UPKEEP_S):
        for number in range(20):
            await queue.enqueue(Work(name=str(number)))
            await stage.until(lambda: len(stage.ended) == number + 1)  # noqa: B023 - awaited in the loop


async def test_a_ring_from_a_thread_starts_a_relay(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async with running(queue, queue_url, stage, sql):
        await asyncio.to_thread(queue.ring_from_thread)
        await stage.until(lambda: stage.ended == [(Relay.kind, "done")])


async def test_a_deferred_job_is_started_by_the_alarm_of_its_lane(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async with running(queue, queue_url, stage, sql, claim_life_s=NO_UPKEEP_S):
        await queue.enqueue(Work(name="later"), delay=timedelta(milliseconds=300))
        await queue.enqueue(Work(name="now"))
        await stage.until(lambda: len(stage.ended) == 2)
    assert [name for name, _ in stage.runs] == ["now", "later"]


async def test_many_jobs_in_one_call_all_run(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    asked = await queue.enqueue_many([Work(name=str(number)) for number in range(1200)])
    assert len({one.job_id for one in asked}) == 1200
    async with running(queue, queue_url, stage, sql, concurrency=20):
        await settled(queue, Lane.WARM, done=1200)
    assert len({name for name, _ in stage.runs}) == 1200


async def test_jobs_of_one_call_begin_in_its_order(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    names = [str(number) for number in range(100)]
    await queue.enqueue_many([Work(name=name) for name in names])
    async with running(queue, queue_url, stage, sql, concurrency=3):
        await settled(queue, Lane.WARM, done=100)
    assert [name for name, _ in stage.runs] == names


async def test_a_declared_error_is_retried_and_another_is_dead_at_once(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async def flaky(attempt: int) -> str:
        if attempt < 3:
            raise Unavailable("not yet")
        return "done"

    async def wrong(_: int) -> str:
        raise ValueError("never")

    stage.acts |= {"flaky": flaky, "wrong": wrong}
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="flaky"))
        await queue.enqueue(Work(name="wrong"))
        await settled(queue, Lane.WARM, done=1, failed=3, retried=2, dead=1)
    assert [run for run in stage.runs if run[0] == "flaky"] == [("flaky", 1), ("flaky", 2), ("flaky", 3)]
    assert [run for run in stage.runs if run[0] == "wrong"] == [("wrong", 1)]


async def test_a_deferral_uses_no_try(queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine) -> None:
    async def wait_twice(_: int) -> str:
        if len(stage.runs) < 5:
            raise Defer(timedelta(milliseconds=5))
        return "done"

    stage.acts["busy"] = wait_twice
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="busy"))
        await settled(queue, Lane.WARM, done=1, total_deferred=4, failed=0)
    assert stage.runs == [("busy", 1)] * 5


async def test_a_job_past_its_time_is_a_timeout_even_if_it_swallows_its_cancellation(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    let_go = asyncio.Event()

    async def stubborn(_: int) -> str:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    stage.acts["stubborn"] = stubborn
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Hasty(name="stubborn"))
        await settled(queue, Lane.WARM, dead=1, failed=1)
    let_go.set()


async def test_a_task_that_exits_ends_its_job_and_not_the_worker(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async def leave(_: int) -> str:
        raise SystemExit(3)

    stage.acts["leave"] = leave
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="leave"))
        await settled(queue, Lane.WARM, dead=1)
        await queue.enqueue(Work(name="next"))
        await settled(queue, Lane.WARM, done=1)


async def test_an_observer_that_raises_harms_no_job(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("metrics are down")

    monkeypatch.setattr(stage, "job_started", broken)
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work())
        await settled(queue, Lane.WARM, done=1)


async def test_stopping_lets_a_running_job_finish(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql, stop_deadline_s=20) as engine:
        await queue.enqueue(Work(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        engine.stop.set()
        waiting = await queue.enqueue(Work(name="not any more"))
        release.set()
        await engine.task
        found = await settled(queue, Lane.WARM, done=1, ready=1, running=0)
    assert found.totals["failed"] == 0
    assert await queue.redis.exists(f"arq:job:{waiting.job_id}")


async def test_what_does_not_finish_in_time_goes_back_with_no_try_used(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql, stop_deadline_s=0.05) as engine:
        await queue.enqueue(Work(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        await engine.stopped()
        await settled(queue, Lane.WARM, ready=1, running=0, failed=0, rescued=0)
    release.set()
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, done=1)
    assert stage.runs == [("slow", 1), ("slow", 1)]


async def test_a_second_signal_stops_now_whatever_the_deadline(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    stage.hold("slow")
    async with running(queue, queue_url, stage, sql, stop_deadline_s=3600) as engine:
        await queue.enqueue(Work(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        engine.now.set()
        await engine.stopped()
        await settled(queue, Lane.WARM, ready=1, running=0)


async def test_a_paused_lane_begins_nothing_until_it_is_resumed(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    await queue.pause(Lane.WARM)
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="paused"))
        await queue.ring()
        await stage.until(lambda: stage.ended == [(Relay.kind, "done")])
        assert (await settled(queue, Lane.WARM, ready=1)).paused
        await queue.resume(Lane.WARM)
        await settled(queue, Lane.WARM, done=1)


async def test_more_slots_take_effect_while_jobs_run(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql, concurrency=1) as engine:
        await queue.enqueue_many([Work(name="slow")] * 3)
        await stage.until(lambda: len(stage.runs) == 1)
        engine.engine.set_concurrency(Lane.WARM, 3)
        await stage.until(lambda: len(stage.runs) == 3)
        release.set()


async def stock_client(queue: Queue, url: str, lane: Lane) -> ArqRedis:
    return await create_pool(
        RedisSettings.from_dsn(url),
        job_serializer=wire.serialize,
        job_deserializer=wire.deserialize,
        default_queue_name=wire.queue_name(queue.settings, lane),
    )


@pytest.mark.parametrize("named", [False, True])
async def test_a_stock_arq_client_can_enqueue(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, *, named: bool
) -> None:
    client = await stock_client(queue, queue_url, Lane.WARM)
    if named:
        await client.enqueue_job(Work.kind, name="stock")
    else:
        await client.enqueue_job(Work.kind, {"name": "stock"})
    async with running(queue, queue_url, stage, sql):
        await stage.until(lambda: bool(stage.ended))
    assert stage.runs == [("stock", 1)]
    await client.aclose(close_connection_pool=True)


async def test_arqs_own_job_status_is_right_in_every_state(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    client = await stock_client(queue, queue_url, Lane.WARM)
    name = wire.queue_name(queue.settings, Lane.WARM)

    def job(job_id: str) -> Job:
        return Job(job_id, client, name, wire.deserialize)

    release = stage.hold("held")
    ready = await queue.enqueue(Work(name="held"))
    later = await queue.enqueue(Work(name="later"), delay=timedelta(hours=1))
    assert await job(ready.job_id).status() is JobStatus.queued
    assert await job(later.job_id).status() is JobStatus.deferred
    info = await job(ready.job_id).info()
    assert info is not None
    assert info.function == Work.kind
    assert list(info.args) == [{"name": "held"}]
    async with running(queue, queue_url, stage, sql):
        await stage.until(lambda: bool(stage.runs))
        assert await job(ready.job_id).status() is JobStatus.in_progress
        release.set()
        await settled(queue, Lane.WARM, done=1)
        assert await job(ready.job_id).status() is JobStatus.not_found
        assert await job(later.job_id).status() is JobStatus.deferred
    await client.aclose(close_connection_pool=True)


async def test_an_idle_engine_sends_at_most_three_commands_a_second(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    own = f":{queue.settings.prefix}"
    async with running(queue, queue_url, stage, sql) as engine:
        owner = engine.engine.owner
        # Every lane has polled once: from here on they are idle.
        await queue.enqueue(Work(name="the last for long"))
        await settled(queue, Lane.WARM, done=1, running=0)
        monitored = Redis.from_url(queue_url)
        async with monitored.monitor() as monitor, asyncio.timeout(30):
            seen, until = 0, asyncio.get_running_loop().time() + 6
            while asyncio.get_running_loop().time() < until:
                with_deadline = asyncio.timeout_at(until)
                try:
                    async with with_deadline:
                        command = (await monitor.next_command())["command"]
                except TimeoutError:
                    break
                seen += own[1:] in command or owner in command or command == "TIME"
        await monitored.aclose()
    assert 0 < seen <= 18


async def test_a_queue_that_is_away_is_unavailable_and_says_no_password(prefix: str) -> None:
    away = Queue.from_url("redis://:hunter2@127.0.0.1:1/0", QueueSettings(prefix=prefix, timeout_s=1))
    with pytest.raises(QueueUnavailable) as caught:
        await away.ring()
    assert "hunter2" not in f"{caught.value} {caught.value!r} {away!r} {away.redis!r}"
    with pytest.raises(QueueUnavailable):
        await asyncio.to_thread(away.ring_from_thread)
    await away.close()


async def test_progress_is_kept_and_read(queue: Queue) -> None:
    progress = Progress(queue.redis, queue.settings)
    assert await progress.read("nobody") is None
    await progress.queued("job")
    assert (await progress.read("job")).state is JobState.QUEUED  # type: ignore[union-attr]
    await progress.report("job", 3, 7)
    await progress.queued("job")  # late: the worker was faster
    found = await progress.read("job")
    assert found is not None
    assert (found.state, found.done, found.total, found.error) == (JobState.RUNNING, 3, 7, None)
    await progress.finish("job", JobState.FAILED, "no")
    found = await progress.read("job")
    assert found is not None
    assert (found.state, found.done, found.error) == (JobState.FAILED, 3, "no")
    assert 0 < await queue.redis.ttl(f"{queue.settings.prefix}:progress:job") <= 86400
