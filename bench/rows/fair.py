"""Enqueue to start of one tenant's job behind 100,000 jobs of another tenant, against an empty queue."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from statistics import median

from bench.blocks import alternate, at_rate
from bench.figures import Figure, percentile
from bench.ground import Bench
from bench.rows.burst import HEATS, PEERS, rival_of
from bench.turns import TURNS, WAITED, Turn, domain
from stoker import Stoker
from stoker.queue.wire import queue_name

IDS = ("fair",)
BACKLOG = 100_000
PEERS_BACKLOG = 2_000
"""Jobs that a peer drains: what it takes for more is extrapolated, because the time is limited."""
PER_SECOND, BLOCK_S = 50, 2.0
POLL_S = 0.02
PATIENCE_S = 120.0


async def measure(bench: Bench) -> list[Figure]:
    """All blocks on an empty queue come first: the backlog is enqueued once."""
    backlog = BACKLOG if bench.scale.share >= 1 else bench.scale.count(BACKLOG)
    count = bench.scale.count(int(PER_SECOND * BLOCK_S), least=20)
    async with (
        bench.stoker(domain) as stoker,
        bench.worker(stoker, STOKER__DOMAIN="bench.turns"),
        AsyncExitStack() as stack,
    ):
        rivals = [await rival_of(bench, stack, name) for name in PEERS]
        keys = [f"plain:{number}" for number in range(bench.scale.count(PEERS_BACKLOG))]
        heats = await alternate(HEATS, *(partial(rival.drain, keys) for rival in rivals))
        [empty] = await alternate(bench.scale.blocks, partial(_p99_ms, stoker, count))
        await stoker.enqueue_many([Turn(tenant="a")] * backlog)
        [behind] = await alternate(bench.scale.blocks, partial(_p99_ms, stoker, count))
        left = await stoker.queue.redis.zcard(queue_name(stoker.queue.settings, TURNS))
    said = ", ".join(
        f"{rival.name} {BACKLOG / median(found):,.0f} s" for rival, found in zip(rivals, heats, strict=True)
    )
    note = (
        f"p99; {left:,} of {backlog:,} jobs of the other tenant were left at the end. Peers are first in, "
        f"first out: extrapolated from {len(keys):,} no-op jobs, a job behind {BACKLOG:,} of them waits "
        f"{said}"
    )
    return [Figure("fair", "an empty queue", "ms", "ours <= 1000", behind, empty, note)]


async def _p99_ms(stoker: Stoker, count: int) -> float:
    redis = stoker.queue.redis
    await redis.delete(WAITED)

    async def one() -> None:
        await stoker.enqueue(Turn(tenant="b", asked_ns=time.time_ns()))

    await at_rate(PER_SECOND, [one] * count)
    async with asyncio.timeout(PATIENCE_S):
        while await redis.llen(WAITED) < count:  # type: ignore[misc] # noqa: ASYNC110 - another process
            await asyncio.sleep(POLL_S)
    waited = await redis.lrange(WAITED, 0, -1)  # type: ignore[misc]
    return percentile([int(one) / 1e6 for one in waited], 0.99)
