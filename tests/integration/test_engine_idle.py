"""How little an idle worker asks of the queue Redis, and that it still hears of new jobs."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from datetime import timedelta

from stoker.jobs import LANES, Lane, Warm
from stoker.queue.enqueue import Queue
from stoker.worker.engine.claims import NO_NEWS, Claims
from tests.support.engine_fixtures import queue  # noqa: F401

NOTHING: dict[str, list[str]] = {lane: [] for lane in LANES}


async def _commands(queue: Queue) -> int:
    found = await queue.redis.info("commandstats")
    return sum(stats["calls"] for stats in found.values())


async def test_upkeep_of_an_idle_worker_is_one_command(queue: Queue) -> None:
    claims = Claims(queue.connection, queue.settings)
    await claims.upkeep(NOTHING, rescue=True)  # connects
    before = await _commands(queue)
    assert await claims.upkeep(NOTHING, rescue=True) == dict.fromkeys(LANES, NO_NEWS)
    asked = await _commands(queue) - before
    assert asked == 1 + 1  # the second INFO counts the first


async def test_an_idle_worker_hears_of_slots_and_of_jobs_due_later(queue: Queue) -> None:
    claims = Claims(queue.connection, queue.settings)
    await queue.set_concurrency(Lane.REFRESH, 3)
    await queue.enqueue(Warm(target="active"), delay=timedelta(seconds=30))
    news = await claims.upkeep(NOTHING, rescue=True)
    assert news[Lane.REFRESH].slots == 3
    due_s = news[Lane.WARM].next_due_s
    assert due_s is not None
    assert 20 < due_s <= 30
