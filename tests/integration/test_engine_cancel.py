"""Cancelling jobs, and what becomes of the progress that somebody follows."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import Defer
from stoker.jobs import JOBS, Lane
from stoker.queue.answers import Answer, CancelAnswer
from stoker.queue.enqueue import Queue
from stoker.queue.progress import JobState, Progress
from stoker.worker.engine.dead_letters import DeadLetters, Which
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import (
    DEADLINE_S,
    Followed,
    FollowedLong,
    Keyed,
    Long,
    Stage,
    Work,
    running,
    settled,
)


async def leftovers(queue: Queue, job_id: str) -> list[bytes]:
    """Keys that name the job, and the wish that it be cancelled."""
    named = [key async for key in queue.redis.scan_iter(f"*{job_id}*")]
    wishes = [key async for key in queue.redis.scan_iter(f"{queue.settings.prefix}:cancelling")]
    return named + wishes


async def state_of(queue: Queue, job_id: str) -> tuple[JobState, str | None]:
    """What whoever follows the job sees."""
    found = await Progress(queue.redis, queue.settings).read(job_id)
    assert found is not None
    return found.state, found.error


async def test_a_waiting_job_is_cancelled_at_once_and_leaves_nothing_behind(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    waiting = await queue.enqueue(Keyed(name="a"))
    deferred = await queue.enqueue(Work(name="later"), delay=timedelta(hours=1))
    for asked in (waiting, deferred):
        assert await queue.cancel(asked.job_id) is CancelAnswer.CANCELLED
        assert await queue.cancel(asked.job_id) is CancelAnswer.NOT_FOUND
        assert await leftovers(queue, asked.job_id) == []
    # Its waiting flag went with it: the next request is new work.
    assert (await queue.enqueue(Keyed(name="a"))).answer is Answer.ENQUEUED
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.REFRESH, done=1, cancelled=1, ready=0)
        await settled(queue, Lane.WARM, cancelled=1, deferred=0)
    assert stage.runs == [("a", 1)]


async def test_a_parked_job_is_cancelled_too(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    older = {kind: job for kind, job in JOBS.items() if kind != Work.kind}
    async with running(queue, queue_url, stage, sql, job_types=older):
        asked = await queue.enqueue(Work())
        await settled(queue, Lane.WARM, running=0, ready=0, deferred=0, parked=1)
        assert await queue.cancel(asked.job_id) is CancelAnswer.CANCELLED
        await settled(queue, Lane.WARM, cancelled=1)
    assert await leftovers(queue, asked.job_id) == []


async def test_a_running_job_is_cancelled_within_a_second_whichever_worker_has_it(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    stopped = asyncio.Event()

    async def act(_: int) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    stage.acts["slow"] = act
    async with running(queue, queue_url, stage, sql), running(queue, queue_url, stage, sql):
        for number in range(1, 5):  # some on either worker
            asked = await queue.enqueue(Long(name="slow"))
            await stage.until(lambda: len(stage.runs) == number)  # noqa: B023 - awaited in the loop
            assert await queue.cancel(asked.job_id) is CancelAnswer.CANCELLING
            async with asyncio.timeout(DEADLINE_S):
                await stopped.wait()
            stopped.clear()
            await settled(queue, Lane.WARM, cancelled=number, running=0)
            assert await leftovers(queue, asked.job_id) == []
    assert [outcome for _, outcome in stage.ended] == ["cancelled"] * 4
    assert await DeadLetters(sql).list(Which()) == []


async def test_a_job_that_ignores_its_cancellation_or_asks_for_another_run_is_cancelled(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    let_go = asyncio.Event()

    async def ignores(_: int) -> str:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    async def returns(_: int) -> str:
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            return "half done"
        return "late"

    async def defers(_: int) -> str:
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            raise Defer(timedelta(0)) from None
        return "late"

    stage.acts |= {"ignores": ignores, "returns": returns, "defers": defers}
    async with running(queue, queue_url, stage, sql):
        asked = await queue.enqueue_many([Long(name=name) for name in stage.acts])
        await stage.until(lambda: len(stage.runs) == 3)
        answers = [await queue.cancel(one.job_id) for one in asked]
        assert answers == [CancelAnswer.CANCELLING] * 3
        found = await settled(queue, Lane.WARM, cancelled=3, running=0, ready=0, deferred=0)
    let_go.set()
    assert found.totals["done"] == found.totals["dead"] == 0


async def test_a_wish_whose_token_was_lost_is_found_by_upkeep(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    stage.hold("slow")
    async with running(queue, queue_url, stage, sql):
        asked = await queue.enqueue(Long(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        await queue.redis.sadd(f"{queue.settings.prefix}:cancelling", asked.job_id)  # type: ignore[misc]
        await settled(queue, Lane.WARM, cancelled=1, running=0)


async def test_a_cancelled_job_whose_worker_dies_or_stops_does_not_run_again(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    # RACES 40: the wish is in Redis, not in the worker.
    stage.hold("slow")
    wishes = f"{queue.settings.prefix}:cancelling"
    async with running(queue, queue_url, stage, sql, claim_life_s=30):
        rescued = await queue.enqueue(Keyed(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        # As if it had died: its claim expires, and its bell is heard by nobody.
        await queue.redis.set(
            f"arq:in-progress:{rescued.job_id}", "a dead one"
        )  # nobody renews it from here on
        await queue.redis.sadd(wishes, rescued.job_id)  # type: ignore[misc]
        await queue.redis.zadd(f"{queue.settings.prefix}:{Lane.REFRESH}:running", {rescued.job_id: 1})
        elsewhere = Stage()
        async with running(queue, queue_url, elsewhere, sql, claim_life_s=0.9):
            await settled(queue, Lane.REFRESH, cancelled=1, running=0, ready=0, rescued=1)
    assert elsewhere.runs == []
    async with running(queue, queue_url, stage, sql, stop_deadline_s=0) as engine:
        stopped = await queue.enqueue(Long(name="slow"))
        await stage.until(lambda: len(stage.runs) == 2)
        await queue.redis.sadd(wishes, stopped.job_id)  # type: ignore[misc]
        engine.stop.set()  # not before the wish: a job that was given back has nobody to cancel it
        await engine.task
        await settled(queue, Lane.WARM, cancelled=1, running=0, ready=0)


async def test_who_follows_a_job_hears_how_it_ended(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    progress = Progress(queue.redis, queue.settings)

    async def wrong(_: int) -> str:
        raise ValueError("wrong")

    stage.hold("slow")
    stage.acts["wrong"] = wrong
    ids = {}
    for name in ("quick", "slow", "wrong"):
        ids[name] = (await queue.enqueue(Followed(name=name))).job_id
        await progress.report(ids[name], 1, 2)  # a report after its end would be the last word
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, done=1, dead=2)
    assert await state_of(queue, ids["quick"]) == (JobState.DONE, None)
    assert await state_of(queue, ids["wrong"]) == (JobState.FAILED, "ValueError: wrong")
    state, error = await state_of(queue, ids["slow"])
    assert state is JobState.FAILED
    assert "ran for more than" in (error or "")


async def test_who_follows_a_job_hears_that_it_was_cancelled_waiting_or_running(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    progress = Progress(queue.redis, queue.settings)
    waiting = await queue.enqueue(Followed())
    await progress.queued(waiting.job_id)
    await queue.cancel(waiting.job_id)
    assert await state_of(queue, waiting.job_id) == (JobState.CANCELLED, None)
    stage.hold("long")
    async with running(queue, queue_url, stage, sql):
        asked = await queue.enqueue(FollowedLong(name="long"))
        await stage.until(lambda: bool(stage.runs))
        await progress.report(asked.job_id, 1, 2)
        await queue.cancel(asked.job_id)
        await settled(queue, Lane.WARM, cancelled=2)
    assert await state_of(queue, asked.job_id) == (JobState.CANCELLED, None)
