"""What counting costs, as a share of the cheapest hit that asks Redis: its flush included."""

from __future__ import annotations

import random
import time
from time import perf_counter

from bench.blocks import alternate, rate
from bench.figures import Figure
from bench.ground import SEED, Bench
from bench.pages import pages
from stoker.cache.lookup import Plan

IDS = ("accounting",)
KEYS, READERS, ZIPF = 1_000, 32, 0.8
BLOCK_S = 0.7
WALK = 20_000
NOTE = (
    "near hits of 1,000 keys, 32 readers; ours is this process's CPU for counting those between two flushes, "
    "and for the flush, whose waiting delays nobody"
)


async def measure(bench: Bench) -> list[Figure]:
    """Each block reads, then counts as many hits as there are between two flushes, and tells Redis."""
    seconds = bench.scale.seconds(BLOCK_S)
    async with bench.stoker() as stoker:
        cache, found = stoker.cache, await pages(stoker, KEYS)
        plans = [cache.plan("dashboard", page.project, reader=page.owner) for page in found]
        weights = [rank**-ZIPF for rank in range(1, KEYS + 1)]
        walk = random.Random(SEED).choices(range(KEYS), weights, k=WALK)
        hits = 0

        async def read(number: int) -> bytes:
            page = found[walk[number % WALK]]
            return (await stoker.read("dashboard", page.project, reader=page.owner)).body

        async def reading() -> float:
            nonlocal hits
            await cache.accounting.flush(cache.store.client, cache.store.keys)
            per_second = await rate(seconds, read, readers=READERS)
            hits = round(per_second * stoker.settings.cache.stats_flush_s)
            return 1 / per_second

        async def counting() -> float:
            counted: list[Plan] = [plans[walk[number % WALK]] for number in range(hits)]
            hit = cache.accounting.hit
            started = time.process_time()
            for plan in counted:
                began_s = perf_counter()
                hit(plan, 1)
                plan.times.append(perf_counter() - began_s)
            await cache.accounting.flush(cache.store.client, cache.store.keys)
            return (time.process_time() - started) / hits

        theirs, ours = await alternate(bench.scale.blocks, reading, counting)
    return [Figure("accounting", "the whole hit", "s", "<= 0.02", ours, theirs, NOTE)]
