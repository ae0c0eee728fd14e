"""A cached read with access checked, body bytes, against a bare GET of the same bytes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from redis.asyncio import Redis

from bench.blocks import alternate, rate
from bench.figures import Figure
from bench.ground import Bench
from bench.pages import pages
from stoker import State, Stoker

IDS = ("hit-body", "hit-body-near")
PAGES = 64
BLOCK_S = 1.0
FAR = "the near cache is off: stamps, entry and access travel at every read, as the bytes of the GET do"
NEAR = "the same with the near cache, as by default: only stamps travel"


async def measure(bench: Bench) -> list[Figure]:
    """One reader in one process and event loop; both sides walk through the same 64 pages."""
    return [
        await _measure(bench, "hit-body", ">= 0.8", FAR, bench.stoker(near_bytes=0)),
        await _measure(bench, "hit-body-near", "", NEAR, bench.stoker()),
    ]


async def _measure(
    bench: Bench, row: str, wanted: str, note: str, opened: AbstractAsyncContextManager[Stoker]
) -> Figure:
    async with opened as stoker, Redis.from_url(bench.urls.cache) as redis:
        found = await pages(stoker, PAGES)
        for page in found:
            await redis.set(page.plain_key, page.body)
            reading = await stoker.read("dashboard", page.project, reader=page.owner)
            assert (reading.state, reading.body) == (State.HIT, page.body)

        async def read(number: int) -> bytes:
            page = found[number % PAGES]
            return (await stoker.read("dashboard", page.project, reader=page.owner)).body

        async def get(number: int) -> object:
            return await redis.get(found[number % PAGES].plain_key)

        seconds = bench.scale.seconds(BLOCK_S)
        ours, theirs = await alternate(
            bench.scale.blocks, lambda: rate(seconds, read), lambda: rate(seconds, get)
        )
    return Figure(row, "redis-py GET of the same bytes", "reads/s", wanted, ours, theirs, note)
