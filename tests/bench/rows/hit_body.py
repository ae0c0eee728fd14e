"""A cached read with access checked, body bytes, against a bare GET of the same bytes."""

from __future__ import annotations

from redis.asyncio import Redis

from jobs import State
from tests.bench.blocks import alternate, rate
from tests.bench.figures import Figure
from tests.bench.ground import Bench
from tests.bench.pages import pages

IDS = ("hit-body",)
PAGES = 64
BLOCK_S = 1.0


async def measure(bench: Bench) -> list[Figure]:
    """One reader in one process and event loop; both sides walk through the same 64 pages."""
    async with bench.stoker() as stoker, Redis.from_url(bench.urls.cache) as redis:
        found = await pages(stoker, PAGES)
        for page in found:
            await redis.set(page.plain_key, page.body)
            reading = await stoker.read("dashboard", page.project, reader=page.owner)
            assert (reading.state, reading.body) == (State.HIT, page.body)

        async def read(number: int) -> None:
            page = found[number % PAGES]
            await stoker.read("dashboard", page.project, reader=page.owner)

        async def get(number: int) -> None:
            await redis.get(found[number % PAGES].plain_key)

        seconds = bench.scale.seconds(BLOCK_S)
        ours, theirs = await alternate(
            bench.scale.blocks, lambda: rate(seconds, read), lambda: rate(seconds, get)
        )
    return [
        Figure("hit-body", "redis-py GET of the same bytes", "reads/s", ">= 0.8", ours, theirs),
    ]
