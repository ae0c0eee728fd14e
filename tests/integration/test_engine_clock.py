"""The clock of the queue's server is set back: nothing waits for it to catch up.

Nobody can set it here, so what lies in Redis is made what a clock that was an hour ahead has written.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import LANES, Lane
from stoker.queue.enqueue import Queue
from stoker.queue.wire import queue_name
from stoker.worker.engine.claims import Claims
from stoker.worker.engine.depth import depth
from tests.support.engine_fixtures import known_jobs, queue, sql, stage
from tests.support.engine_stage import Elsewhere, Stage, Work, running, settled

__all__ = ["known_jobs", "queue", "sql", "stage"]

BACK_MS = 3_600_000


@pytest.fixture
def claims(queue: Queue) -> Claims:
    """Of a worker that dies in the middle of its job."""
    return Claims(queue.connection, queue.settings)


async def set_back(queue: Queue) -> None:
    """Every moment that was written lies an hour ahead now."""
    clock = f"{queue.settings.prefix}:clock"
    await queue.redis.incrby(clock, BACK_MS)
    for lane in LANES:
        for part in ("", ":running"):
            name = queue_name(queue.settings, lane) + part
            for member, score in await queue.redis.zrange(name, 0, -1, withscores=True):
                await queue.redis.zadd(name, {member: score + BACK_MS})
        rate = f"{queue_name(queue.settings, lane)}:rate"
        if await queue.redis.exists(rate):
            await queue.redis.incrbyfloat(rate, BACK_MS)


async def test_what_was_due_runs_and_what_was_running_is_rescued(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, claims: Claims
) -> None:
    asked = await queue.enqueue(Work(name="claimed"))
    (claim,) = (await claims.claim(Lane.WARM, 1, rate_per_s=100)).claims
    assert claim.job_id == asked.job_id
    await queue.enqueue(Work(name="waiting"))
    await queue.enqueue(Elsewhere(name="later"), delay=timedelta(hours=2))
    await set_back(queue)
    async with running(queue, queue_url, stage, sql, rate_per_s=100):
        found = await settled(queue, Lane.WARM, done=2, rescued=1, running=0)
        assert found.ready == 0
        later = (await depth(queue))[Lane.REFRESH]
        assert (later.ready, later.deferred) == (0, 1), "it is not due for two hours"
    assert sorted(stage.runs) == [("claimed", 1), ("waiting", 1)]
