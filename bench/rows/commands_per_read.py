"""Redis commands for each 1,000 reads of four web processes, with a term of 100 ms and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from redis.asyncio import Redis

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench
from bench.pages import pages
from bench.peer import OUR_PYTHON, Peer, running
from bench.rows.hit_decoded import KEYS, ZIPF
from stoker.cache.term import SERVED

IDS = ("commands-per-read",)
PROCESSES = 4
TERM_MS = 100
BLOCK_S = 1.0
NOTE = (
    "four processes of 32 readers that read as fast as they can, 1,000 dashboards, Zipf; the server's own "
    "count, with the commands of accounting and those inside scripts; {:,.0f} reads a second within terms, "
    "where at least {:.0f} in 1,000 would have to ask if no question renewed the terms of other pages"
)


async def measure(bench: Bench) -> list[Figure]:
    """All processes of a side read at once; nobody changes anything meanwhile."""
    seconds = bench.scale.seconds(BLOCK_S)
    async with (
        bench.stoker(term_ms=TERM_MS) as stoker,
        Redis.from_url(bench.urls.cache) as redis,
        AsyncExitStack() as stack,
    ):
        await stoker.cache_term.keep()
        found = [(page.project, page.owner) for page in await pages(stoker, KEYS)]
        termed, plain = [await _processes(bench, stack, term_ms) for term_ms in (TERM_MS, 0)]
        per_second: list[float] = []

        async def block(processes: Sequence[Peer]) -> float:
            before = await _commands(redis)
            asked = (one.ask("read", pages=found, seconds=seconds) for one in processes)
            reads: int = sum(await asyncio.gather(*asked))
            if processes is termed:
                per_second.append(reads / seconds)
            return (await _commands(redis) - before - 1) / reads * 1000  # 1: the asking

        ours, theirs = await alternate(bench.scale.blocks, partial(block, termed), partial(block, plain))
    mean = sum(per_second) / len(per_second)
    note = NOTE.format(mean, asking(mean / PROCESSES) * 1000)
    return [Figure(IDS[0], "terms off", "commands", "<= 0.2", ours, theirs, note)]


def asking(per_second: float, term_ms: int = TERM_MS) -> float:
    """The share of a process's reads that find no term if none is renewed; they come at random (Poisson).

    A page that is read n times a second is asked for, served within the term, and asked for at the next read:
    once in `served_s + 1 / n` seconds.
    """
    served_s = term_ms / 1000 * SERVED
    weights = [float(rank**-ZIPF) for rank in range(1, KEYS + 1)]
    whole: float = sum(weights)
    shares = [weight / whole for weight in weights]
    return sum(share / (1 + served_s * per_second * share) for share in shares)


async def _processes(bench: Bench, stack: AsyncExitStack, term_ms: int) -> list[Peer]:
    env = {**bench.env, "STOKER__CACHE__TERM_MS": str(term_ms)}
    found = [
        await stack.enter_async_context(running("term_reader", python=OUR_PYTHON, env=env))
        for _ in range(PROCESSES)
    ]
    await asyncio.gather(*(one.ask("open") for one in found))
    return found


async def _commands(redis: Redis) -> int:
    return int((await redis.info("stats"))["total_commands_processed"])
