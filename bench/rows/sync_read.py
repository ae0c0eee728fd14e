"""A cached read from a thread, by SyncStoker, against a GET of redis-py's synchronous client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import redis

from bench.blocks import STEPS_PER_CLOCK_READ, alternate
from bench.figures import Figure
from bench.ground import DOMAIN, Bench
from bench.pages import pages
from stoker import State, SyncStoker, load_domain

IDS = ("sync-read",)
PAGES = 64
BLOCK_S = 1.0
NOTE = (
    "one thread of a process, access checked, the near cache as by default; both sides walk through 64 pages"
)


async def measure(bench: Bench) -> list[Figure]:
    """The reading thread is not that of the event loop, as in a web server."""
    async with bench.stoker() as stoker:
        found = await pages(stoker, PAGES)
        settings = stoker.settings
    sync, theirs = SyncStoker(settings, load_domain(DOMAIN)), redis.Redis.from_url(bench.urls.cache)

    def read(number: int) -> object:
        page = found[number % PAGES]
        return sync.read("dashboard", page.project, reader=page.owner).body

    def get(number: int) -> object:
        return theirs.get(found[number % PAGES].plain_key)

    def fill() -> None:
        for page in found:
            theirs.set(page.plain_key, page.body)
            reading = sync.read("dashboard", page.project, reader=page.owner)
            assert (reading.state, reading.body) == (State.HIT, page.body)

    await asyncio.to_thread(fill)
    seconds = bench.scale.seconds(BLOCK_S)
    sides = [partial(asyncio.to_thread, rate, seconds, step) for step in (read, get)]
    ours, others = await alternate(bench.scale.blocks, *sides)
    await asyncio.to_thread(sync.close)
    theirs.close()
    return [Figure("sync-read", "redis-py, synchronous GET", "reads/s", ">= 0.6", ours, others, NOTE)]


def rate(seconds: float, step: Callable[[int], object]) -> float:
    """Steps a second of one thread."""
    started, done = time.perf_counter(), 0
    while time.perf_counter() < started + seconds:
        for _ in range(STEPS_PER_CLOCK_READ):
            step(done)
            done += 1
    return done / (time.perf_counter() - started)
