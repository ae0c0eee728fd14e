"""What an operator sets for a lane: slots while it runs, and a rate that all workers share."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Lane
from stoker.queue.enqueue import Queue
from stoker.worker.engine.claims import Claims
from stoker.worker.engine.depth import depth
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Stage, Work, running, settled

RATE_PER_S = 30
BURST = 3
"""Jobs of a tenth of a second at this rate, which may begin at once."""
EPSILON = 0.05
"""Of a job: the server's clock tells whole milliseconds."""


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


async def test_a_rate_is_shared_by_all_workers(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    await queue.enqueue_many([Work()] * 60)
    async with (
        running(queue, queue_url, stage, sql, rate_per_s=RATE_PER_S),
        running(queue, queue_url, stage, sql, rate_per_s=RATE_PER_S),
    ):
        await settled(queue, Lane.WARM, done=60)
    # All were due at once: how long each waited for its claim tells when that was, by the server's clock.
    claimed = sorted(stage.waits_s)
    for first, began in enumerate(claimed):
        for last in range(first, len(claimed)):
            most = BURST + RATE_PER_S * (claimed[last] - began)
            assert last - first + 1 <= most + EPSILON, "no stretch of time has more than its share"
    life_s = await queue.redis.ttl(f"{queue.settings.prefix}:{Lane.WARM}:rate")
    assert life_s in (-2, 0, 1, 2)  # gone, or soon


async def test_what_a_rate_allows_is_claimed(queue: Queue) -> None:
    jobs = 40
    await queue.enqueue_many([Work()] * jobs)
    workers = [Claims(queue.connection, queue.settings) for _ in range(2)]
    share_s = 1 / RATE_PER_S
    spent_s: float | None = None
    left = jobs
    while left:
        for worker in workers:
            found = await worker.claim(Lane.WARM, jobs, rate_per_s=RATE_PER_S)
            if not found.claims:
                continue
            now_s = found.claims[0].waited_s
            # What was not used is kept for a tenth of a second: by the server's clock, however late we ask.
            kept_s = now_s - BURST / RATE_PER_S
            spent_s = kept_s if spent_s is None else max(spent_s, kept_s)
            assert len(found.claims) == min(left, int((now_s - spent_s) / share_s + EPSILON))
            spent_s += len(found.claims) * share_s
            left -= len(found.claims)
        await asyncio.sleep(share_s / 2)


async def test_without_a_rate_nothing_is_kept(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work())
        await settled(queue, Lane.WARM, done=1)
    assert await queue.redis.exists(f"{queue.settings.prefix}:{Lane.WARM}:rate") == 0


async def test_a_quiet_process_takes_no_jobs_and_says_how_busy_it_was(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql, concurrency=2) as worker:
        await queue.enqueue_many([Work(name="slow")])
        await stage.until(lambda: len(stage.runs) == 1)
        worker.engine.set_quiet(True)
        await queue.enqueue_many([Work(name="later")] * 3)
        await worker.engine._lanes[Lane.WARM].wake()  # it has asked for work, and taken none
        assert (await depth(queue))[Lane.WARM].ready == 3
        release.set()
        await settled(queue, Lane.WARM, done=1)
        load = worker.engine.load()[Lane.WARM]
        assert (load.slots, load.busy) == (2, 0)
        assert 0 < load.busy_s < load.slot_s
        worker.engine.set_quiet(False)
        await settled(queue, Lane.WARM, done=4)
