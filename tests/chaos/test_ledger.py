"""The count of jobs: each is in one place, and one that is in none is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from stoker.chaos.audit import Ledger, audited
from stoker.redis.script import Script

PAYLOAD = b'{"t":null,"f":"chaos.act.v1","a":[{"what":"work"}],"k":{},"et":1}'


@pytest.fixture
async def redis(queue_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(queue_url) as client:
        yield client


async def born(redis: Redis, prefix: str, *ids: str) -> None:
    await redis.hset(f"{prefix}:chaos:born", mapping=dict.fromkeys(ids, PAYLOAD))  # type: ignore[misc]


async def test_a_job_that_left_the_queue_without_an_end_is_lost(redis: Redis, prefix: str) -> None:
    await born(redis, prefix, "waits", "runs", "parked", "ended", "vanished")
    await redis.zadd(f"{prefix}:warm", {"waits": 1, "parked": 9})
    await redis.zadd(f"{prefix}:warm:running", {"runs": 1})
    await redis.zadd(f"{prefix}:warm:parked", {"parked": 1})
    await redis.hset(f"{prefix}:chaos:ended", "ended", "done")  # type: ignore[misc]
    ledger = Ledger(prefix)
    await ledger.take(redis)
    assert (ledger.waiting, ledger.running, ledger.parked) == ({"waits"}, {"runs"}, {"parked"})
    assert ledger.lost == {"vanished"}


async def test_what_an_erased_queue_held_is_erased_and_not_lost(redis: Redis, prefix: str) -> None:
    await born(redis, prefix, "first")
    await redis.zadd(f"{prefix}:refresh", {"first": 1})
    await redis.hset(f"{prefix}:refresh:totals", "done", "3")  # type: ignore[misc]
    keys = [f"{prefix}:refresh", f"{prefix}:refresh:totals", f"{prefix}:chaos:born"]
    ledger = Ledger(prefix)
    await ledger.take(redis, then=("DEL", *keys))
    await born(redis, prefix, "second")
    await redis.zadd(f"{prefix}:refresh", {"second": 1})
    await redis.hset(f"{prefix}:refresh:totals", "done", "2")  # type: ignore[misc]
    await ledger.take(redis)
    assert (ledger.erased, ledger.waiting, ledger.lost) == ({"first"}, {"second"}, set())
    assert ledger.totals()["done"] == 5


async def test_a_job_that_nobody_enqueued_is_noticed(redis: Redis, prefix: str) -> None:
    await redis.zadd(f"{prefix}:changes", {"stray": 1})
    ledger = Ledger(prefix)
    await ledger.take(redis)
    assert ledger.unborn == {"stray"}


async def test_a_script_notes_births_ends_and_rescues_in_the_same_step(redis: Redis, prefix: str) -> None:
    script = """
    redis.call('SET', 'arq:job:' .. ARGV[2], ARGV[3], 'PX', 60000)
    redis.call('SET', 'arq:in-progress:' .. ARGV[2], 'host:42:token', 'PX', 60000)
    redis.call('DEL', 'arq:in-progress:' .. ARGV[2])
    redis.call('ZREM', ARGV[1] .. ':warm:running', ARGV[2])
    redis.call('DEL', 'arq:job:' .. ARGV[2])
    redis.call('HINCRBY', ARGV[1] .. ':warm:totals', 'dead', 1)
    return 7
    """
    source = audited(script, "upkeep")
    assert await redis.eval(source, 0, prefix, f"{prefix}-job", PAYLOAD.decode()) == 7  # type: ignore[misc]
    ledger = Ledger(prefix)
    await ledger.take(redis)
    assert ledger.born == {f"{prefix}-job": PAYLOAD}
    assert ledger.ended == {f"{prefix}-job": "dead"}
    assert [(rescue.job_id, rescue.owner_pid) for rescue in ledger.rescues] == [(f"{prefix}-job", 42)]


def test_the_flags_of_a_script_stay_its_first_line() -> None:
    claim = Script("stoker.worker.engine", "claim").source.decode()
    assert claim.startswith("#!lua")
    assert audited(claim, "claim").splitlines()[0] == claim.splitlines()[0]
