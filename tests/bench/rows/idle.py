"""Redis commands a second of an idle worker with three lanes."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from tests.bench.figures import Figure
from tests.bench.ground import Bench

IDS = ("idle",)
BLOCK_S = 4.0
"""Two rounds of the worker's upkeep; a shorter look may see none."""
SETTLE_S = 3.0
BOUND = 3.0


async def measure(bench: Bench) -> list[Figure]:
    """Both servers' own counts, commands inside scripts among them; ours of asking are taken off."""
    async with (
        bench.stoker() as stoker,
        bench.worker(stoker),
        Redis.from_url(bench.urls.queue) as queue,
        Redis.from_url(bench.urls.cache) as cache,
    ):
        await asyncio.sleep(SETTLE_S)
        found: list[float] = []
        for _ in range(bench.scale.blocks):
            before, started = await _commands(queue, cache), time.monotonic()
            await asyncio.sleep(BLOCK_S)
            asked = 2  # the second look counts the commands of the first
            found.append((await _commands(queue, cache) - before - asked) / (time.monotonic() - started))
    return [Figure("idle", "the bound", "commands/s", "<= 1", found, [BOUND] * len(found))]


async def _commands(*servers: Redis) -> int:
    counts = [int((await server.info("stats"))["total_commands_processed"]) for server in servers]
    return sum(counts)
