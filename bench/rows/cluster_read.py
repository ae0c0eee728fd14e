"""Reads from a cache on a cluster of three primaries, against the same from one server; both over TCP."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bench.blocks import alternate, rate
from bench.figures import Figure
from bench.ground import Bench
from bench.pages import Page, pages
from stoker import SYSTEM, Asked, Reading, State, Stoker
from stoker.embedded.cluster import Cluster
from stoker.embedded.listening import free_ports
from stoker.embedded.valkey import Valkey

IDS = ("cluster-hit", "cluster-many")
PAGES = 64
MANY = 50
BLOCK_S = 1.0
TIMES = 100
NOTE = "one reader, dashboards of about 4 KB, the near cache as it ships"


async def measure(bench: Bench) -> list[Figure]:
    """A guarded hit, and 50 entries in one call; every page is of a scope of its own."""
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as place:
        [port] = free_ports(1)
        cluster, single = Cluster(Path(place)), _single(Path(place), port)
        try:
            await asyncio.to_thread(cluster.start)
            await asyncio.to_thread(single.start)
            async with (
                _warm(bench, cluster.url) as ours,
                _warm(bench, f"redis://127.0.0.1:{port}/0") as theirs,
            ):
                return [await _hit(bench, ours, theirs), await _many(bench, ours, theirs)]
        finally:
            cluster.stop()
            single.kill()


Warm = tuple[Stoker, list[Page]]


@asynccontextmanager
async def _warm(bench: Bench, url: str) -> AsyncIterator[Warm]:
    there = replace(bench, urls=replace(bench.urls, cache=url))
    async with Stoker.opened(there.settings()) as stoker:
        yield stoker, await pages(stoker, PAGES)


async def _hit(bench: Bench, ours: Warm, theirs: Warm) -> Figure:
    seconds = bench.scale.seconds(BLOCK_S)
    cluster, single = await alternate(
        bench.scale.blocks, lambda: rate(seconds, _read(*ours)), lambda: rate(seconds, _read(*theirs))
    )
    return Figure("cluster-hit", "the same on one server", "reads/s", ">= 0.95", cluster, single, NOTE)


def _read(stoker: Stoker, found: list[Page]) -> Callable[[int], Awaitable[bytes]]:
    async def read(number: int) -> bytes:
        page = found[number % PAGES]
        return (await stoker.read("dashboard", page.project, reader=page.owner)).body

    return read


async def _many(bench: Bench, ours: Warm, theirs: Warm) -> Figure:
    times = bench.scale.count(TIMES)
    cluster, single = await alternate(
        bench.scale.blocks, lambda: _many_ms(*ours, times), lambda: _many_ms(*theirs, times)
    )
    return Figure("cluster-many", "the same on one server", "ms", "<= 1.5", cluster, single, NOTE)


async def _many_ms(stoker: Stoker, found: list[Page], times: int) -> float:
    """Milliseconds of one `read_many`, without rights: nobody is a member of so many projects."""
    asked = [Asked("dashboard", page.project) for page in found[:MANY]]
    began = time.perf_counter()
    for _ in range(times):
        answers = await stoker.read_many(asked, reader=SYSTEM)
        first = answers[0]
        assert isinstance(first, Reading)
        assert first.state is State.HIT
    return (time.perf_counter() - began) / times * 1000


def _single(place: Path, port: int) -> Valkey:
    memory = ("--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lfu", "--appendonly", "no", "--save", "")
    options = ("--bind", "127.0.0.1", "--port", str(port), *memory)
    return Valkey("single", place / "single", place, place / "single.log", options)
