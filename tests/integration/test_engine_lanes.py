"""What an operator sets for a lane: slots while it runs, and a rate that all workers share."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Lane
from stoker.queue.enqueue import Queue
from stoker.worker.engine.depth import depth
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Stage, Work, running, settled


async def test_slots_set_from_outside_count_in_every_worker_until_they_are_cleared(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("slow")
    async with (
        running(queue, queue_url, stage, sql, concurrency=1),
        running(queue, queue_url, stage, sql, concurrency=1),
    ):
        await queue.enqueue_many([Work(name="slow")] * 12)
        await stage.until(lambda: len(stage.runs) == 2)
        await queue.set_concurrency(Lane.WARM, 3)
        await stage.until(lambda: len(stage.runs) == 6)
        assert (await depth(queue))[Lane.WARM].slots == 3
        await queue.clear_concurrency(Lane.WARM)
        release.set()
        await settled(queue, Lane.WARM, done=12)
    assert (await depth(queue))[Lane.WARM].slots is None


async def test_fewer_slots_let_running_jobs_end_first(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release, more = stage.hold("slow"), stage.hold("more")
    async with running(queue, queue_url, stage, sql, concurrency=4):
        await queue.enqueue_many([Work(name="slow")] * 4)
        await stage.until(lambda: len(stage.runs) == 4)
        await queue.set_concurrency(Lane.WARM, 1)
        await queue.enqueue_many([Work(name="more")] * 2)
        # Upkeep renews claims in the call that brings the new number; wait for two of them.
        name = f"{queue.settings.prefix}:{Lane.WARM}:running"
        for _ in range(2):
            before = await queue.redis.zrange(name, -1, -1, withscores=True)
            while await queue.redis.zrange(name, -1, -1, withscores=True) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        release.set()
        await stage.until(lambda: len(stage.runs) == 5)
        await settled(queue, Lane.WARM, done=4, running=1, ready=1)
        more.set()
        await settled(queue, Lane.WARM, done=6)


async def test_no_slots_at_all_is_refused_because_that_is_a_pause(queue: Queue) -> None:
    with pytest.raises(ValueError, match="pause"):
        await queue.set_concurrency(Lane.WARM, 0)


async def test_a_rate_is_shared_by_all_workers_and_used_up(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    starts: list[float] = []

    async def note(_: int) -> str:
        starts.append(time.monotonic())
        return "done"

    stage.acts["work"] = note
    await queue.enqueue_many([Work()] * 60)
    async with (
        running(queue, queue_url, stage, sql, rate_per_s=30),
        running(queue, queue_url, stage, sql, rate_per_s=30),
    ):
        await settled(queue, Lane.WARM, done=60)
    took_s = starts[-1] - starts[0]
    # A tenth of a second's worth may begin at once; the rest is spread, and no slot of time is left unused.
    assert took_s >= (60 - 4) / 30
    assert took_s < 4
    life_s = await queue.redis.ttl(f"{queue.settings.prefix}:{Lane.WARM}:rate")
    assert life_s in (-2, 0, 1, 2)  # gone, or soon


async def test_without_a_rate_nothing_is_kept(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work())
        await settled(queue, Lane.WARM, done=1)
    assert await queue.redis.exists(f"{queue.settings.prefix}:{Lane.WARM}:rate") == 0
