"""How often the loader of one cold key runs: four processes with fifty readers each, at one moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from statistics import mean, median

from redis.asyncio import Redis

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench
from bench.peer import OUR_PYTHON, Peer, running
from bench.peers.herd import LIBRARIES, counted

IDS = ("herd",)
PROCESSES, READERS = 4, 50
LEAD_S = 0.1
"""From asking the processes to the moment at which all of them begin."""


async def measure(bench: Bench) -> list[Figure]:
    """A new key in every block; ours has to run the loader once in every single one."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await bench.flush()
        redis = await enter(Redis.from_url(bench.urls.cache))
        stokers = [
            await enter(running("herd_stoker", python=OUR_PYTHON, env=bench.env)) for _ in range(PROCESSES)
        ]
        peers = [await enter(running("herd", bench.urls.cache)) for _ in range(PROCESSES)]
        await asyncio.gather(*(one.ask("open") for one in stokers))
        for name in LIBRARIES:
            await asyncio.gather(*(peer.ask("open", library=name) for peer in peers))
        ours, *others = await alternate(
            bench.scale.blocks,
            partial(_loads, redis, stokers),
            *(partial(_loads, redis, peers, name) for name in LIBRARIES),
        )
    by_name = dict(zip(LIBRARIES, others, strict=True))
    best = min(by_name, key=lambda name: (median(by_name[name]), mean(by_name[name])))
    said = ", ".join(f"{name} {median(runs):g} (most {max(runs):g})" for name, runs in by_name.items())
    # A single block with a second run breaks the promise, so the worst block is reported.
    worst = [max(ours)] * len(ours)
    note = f"{PROCESSES} x {READERS} readers, loader of 100 ms; ours is the worst block; {said}"
    return [Figure("herd", best, "loader runs", "ours == 1", worst, by_name[best], note)]


async def _loads(redis: Redis, processes: Sequence[Peer], library: str = "") -> float:
    key = f"{library.partition('.')[0]}{time.monotonic_ns()}"
    at_s = time.time() + LEAD_S
    named = {"library": library} if library else {}
    await asyncio.gather(
        *(one.ask("rush", key=key, readers=READERS, at_s=at_s, **named) for one in processes)
    )
    return float(await redis.get(counted(key)) or 0)
