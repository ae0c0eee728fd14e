"""Hits of 4 KB dashboards as decoded values: 32 readers, 1,000 keys, Zipf; against the best of three."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from statistics import median

from bench.blocks import alternate, rate
from bench.figures import Figure
from bench.ground import SEED, Bench
from bench.pages import Page, pages
from bench.peer import Peer, running
from stoker import Stoker

IDS = ("hit-decoded", "hit-decoded-shared", "hit-decoded-client-side")
KEYS, READERS, ZIPF = 1_000, 32, 0.8
BLOCK_S = 0.7
WALK = 20_000
"""Reads after which a block begins its walk again."""
PEERS = ("redis-py and json", "aiocache", "cashews")
CLIENT_SIDE = "cashews client-side"


async def measure(bench: Bench) -> list[Figure]:
    """Ours checks access at every read; peers do not. Each library in a process of its own."""
    seconds = bench.scale.seconds(BLOCK_S)
    async with bench.stoker() as stoker, AsyncExitStack() as stack:
        found = await pages(stoker, KEYS)
        walk = walk_of(found)
        peers = {
            name: await stack.enter_async_context(running("caches", bench.urls.cache, name))
            for name in (*PEERS, CLIENT_SIDE)
        }
        for peer in peers.values():
            await peer.ask("put", bodies={page.plain_key: page.body.decode() for page in found})
        own, shared, *others = await alternate(
            bench.scale.blocks,
            partial(rate, seconds, _own(stoker, walk), readers=READERS),
            partial(rate, seconds, shared_by(stoker, walk), readers=READERS),
            *(partial(read_by, peer, walk, seconds) for peer in peers.values()),
        )
    by_name = dict(zip(peers, others, strict=True))
    best = max(PEERS, key=lambda name: median(by_name[name]))
    all_of_them = ", ".join(f"{name} {median(found):,.0f}/s" for name, found in by_name.items())
    return [
        Figure("hit-decoded", best, "reads/s", ">= 1.5", own, by_name[best], all_of_them),
        Figure(
            *("hit-decoded-shared", best, "reads/s", "", shared, by_name[best]),
            "one decoded object for the whole process, as cashews' client-side copy is",
        ),
        Figure(
            *("hit-decoded-client-side", CLIENT_SIDE, "reads/s", "", shared, by_name[CLIENT_SIDE]),
            "its copy asks nobody: it may show what was before until the server's push message is read",
        ),
    ]


def walk_of(found: Sequence[Page]) -> list[Page]:
    """The pages in the order in which they are read: Zipf, the same every time."""
    rng = random.Random(SEED)
    weights = [rank**-ZIPF for rank in range(1, len(found) + 1)]
    return rng.choices(found, weights, k=WALK)


def _own(stoker: Stoker, walk: Sequence[Page]) -> Callable[[int], Awaitable[object]]:
    async def read(number: int) -> object:
        page = walk[number % WALK]
        return (await stoker.read("dashboard", page.project, reader=page.owner)).value

    return read


def shared_by(stoker: Stoker, walk: Sequence[Page]) -> Callable[[int], Awaitable[object]]:
    """Reads of the decoded object that the readers share."""

    async def read(number: int) -> object:
        page = walk[number % WALK]
        return (await stoker.read("dashboard", page.project, reader=page.owner)).shared

    return read


async def read_by(peer: Peer, walk: Sequence[Page], seconds: float) -> float:
    """Reads a second of a peer."""
    keys = [page.plain_key for page in walk]
    return float(await peer.ask("read", keys=keys, readers=READERS, seconds=seconds))
