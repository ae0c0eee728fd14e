"""Redis commands a second of an idle worker with three lanes."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from redis.asyncio import Redis

from bench.figures import Figure
from bench.ground import Bench

IDS = ("idle",)
BLOCK_S = 60.0
"""All that comes round: samples of the history, and the schedule's slots of a minute."""
MOST_BLOCKS = 1
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
        commands: list[float] = []
        trips: list[float] = []
        for _ in range(bench.scale.blocks if bench.scale.full else min(bench.scale.blocks, MOST_BLOCKS)):
            before, started = await _counts(queue, cache), time.monotonic()
            await asyncio.sleep(bench.scale.seconds(BLOCK_S))
            after, took = await _counts(queue, cache), time.monotonic() - started
            asked = 2  # the second reading counts the commands of the first
            commands.append((after[0] - before[0] - asked) / took)
            trips.append((after[1] - before[1] - asked) / took)
    note = (
        f"commands inside scripts counted; {median(trips):.1f} round trips a second; while a delivered "
        "request is kept, the queue is also asked each second whether it has lost its data"
    )
    return [Figure("idle", "the bound", "commands/s", "<= 1", commands, [BOUND] * len(commands), note)]


async def _counts(*servers: Redis) -> tuple[int, int]:
    """Commands of all the servers, and how often something was read from a connection."""
    stats = [await server.info("stats") for server in servers]
    return (
        sum(int(one["total_commands_processed"]) for one in stats),
        sum(int(one["total_reads_processed"]) for one in stats),
    )
