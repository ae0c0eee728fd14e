"""The console: the size of its page, and how fast it answers with 100,000 jobs in the queue.

Client and server share one process and a loopback socket, so the figure also includes the client's time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from statistics import median

import httpx

from bench.figures import Figure
from bench.ground import Bench
from stoker import Stoker, load_settings
from stoker.cli.web import address, listening, serve
from stoker.jobs import Refresh
from stoker.settings import ApiSettings

IDS = ("console-page-bytes", "console-listing-ms")
TOKEN = "token-of-the-benchmark"  # noqa: S105 - on loopback, while the row runs
JOBS = 100_000
PAGE_BYTES = 150_000
LISTING_MS = 100.0
ASKED = 5
"""Times that each path is asked for in a block; the median counts."""
PATHS = (
    "/",
    "/api/overview",
    "/api/jobs",
    "/api/jobs?state=ready",
    "/api/jobs?error=nothing+like+it",
    "/api/jobs/dead/groups",
    "/api/schedule",
    "/api/history?length=day",
)


async def measure(bench: Bench) -> list[Figure]:
    """The slowest of the paths counts."""
    jobs = bench.scale.count(JOBS)
    async with bench.stoker() as stoker, _console(bench, stoker) as client:
        await stoker.queue.enqueue_many(
            [Refresh(view="dashboard", scope_id=str(number)) for number in range(jobs)]
        )
        weight = await _weight(client)
        slowest = [max([await _ms(client, path) for path in PATHS]) for _ in range(bench.scale.blocks)]
    return [
        Figure(
            "console-page-bytes", "the bound", "bytes", "<= 1", [weight], [PAGE_BYTES], "packed, all files"
        ),
        Figure(
            *("console-listing-ms", "the bound", "ms", "<= 1", slowest, [LISTING_MS] * len(slowest)),
            f"the slowest of {len(PATHS)} paths, {jobs:,} jobs waiting",
        ),
    ]


@asynccontextmanager
async def _console(bench: Bench, stoker: Stoker) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(
        database_url=bench.urls.database,
        redis_url=bench.urls.queue,
        cache_redis_url=bench.urls.cache,
        api={"tokens": [{"name": "bench", "role": "operator", "token": TOKEN}]},
    )
    stop = asyncio.Event()
    with listening(ApiSettings(port=0)) as taken:
        serving = asyncio.create_task(serve(stoker, settings, taken, stop))
        try:
            async with httpx.AsyncClient(
                base_url=address(taken), headers={"Authorization": f"Bearer {TOKEN}"}
            ) as client:
                yield client
        finally:
            stop.set()
            await serving


async def _weight(client: httpx.AsyncClient) -> int:
    """Bytes of all bodies that a browser loads before it asks for a figure."""
    names = [file.name for file in files("stoker.console").joinpath("static").iterdir()]
    assets = [f"/console/{name}" for name in names if not name.endswith((".html", ".txt"))]
    answers = [await client.get(path, headers={"Accept-Encoding": "gzip"}) for path in ("/", *assets)]
    return sum(int(answer.headers["content-length"]) for answer in answers)


async def _ms(client: httpx.AsyncClient, path: str) -> float:
    took = []
    for _ in range(ASKED):
        began = time.perf_counter()
        (await client.get(path)).raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
    return median(took)
