"""Hits within a term, which ask nobody: decoded by many readers, and as bytes by one; access is checked."""

from __future__ import annotations

from functools import partial

from redis.asyncio import Redis

from bench.blocks import alternate, rate
from bench.figures import Figure
from bench.ground import Bench
from bench.pages import pages
from bench.peer import running
from bench.rows.hit_decoded import CLIENT_SIDE, KEYS, READERS, read_by, shared_by, walk_of
from stoker import State, Stoker

IDS = ("hit-term", "hit-term-body")
PAGES = 64
TERM_MS = 1000
"""The longest. commands-per-read counts the hits that ask at 100 ms."""
BLOCK_S = 0.5
"""Less than a term is served for."""
NOTE = (
    "32 readers, 1,000 dashboards of 4 KB, one shared object each; ours checks access and counts, and is "
    "never older than what was applied"
)
BODY_NOTE = "the bytes for HTTP, one reader; each page is asked for once a second"


async def measure(bench: Bench) -> list[Figure]:
    """Nobody changes anything meanwhile."""
    async with bench.stoker(term_ms=TERM_MS) as stoker:
        await stoker.cache_term.keep()
        await stoker.cache_term.learn()
        return [await _decoded(bench, stoker), await _body(bench, stoker)]


async def _decoded(bench: Bench, stoker: Stoker) -> Figure:
    found = await pages(stoker, KEYS)
    walk = walk_of(found)
    seconds = bench.scale.seconds(BLOCK_S)
    async with running("caches", bench.urls.cache, CLIENT_SIDE) as peer:
        await peer.ask("put", bodies={page.plain_key: page.body.decode() for page in found})

        async def ours_in_term() -> float:
            stoker.cache.store.lookup.terms.end()  # all of them begin now
            for page in found:
                await stoker.read("dashboard", page.project, reader=page.owner)
            return await rate(seconds, shared_by(stoker, walk), readers=READERS)

        ours, theirs = await alternate(
            bench.scale.blocks, ours_in_term, partial(read_by, peer, walk, seconds)
        )
    return Figure("hit-term", CLIENT_SIDE, "reads/s", ">= 1", ours, theirs, NOTE)


async def _body(bench: Bench, stoker: Stoker) -> Figure:
    async with Redis.from_url(bench.urls.cache) as redis:
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
    return Figure(
        "hit-term-body", "redis-py GET of the same bytes", "reads/s", ">= 8", ours, theirs, BODY_NOTE
    )
