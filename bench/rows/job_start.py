"""Enqueue to start of a one-command job at 100 a second, against SAQ; stock arq and taskiq beside it.

The job unlinks one key. For every library the figure is the time from before the enqueueing until the key is
gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from redis.asyncio import Redis

from bench.blocks import alternate
from bench.changes import changes
from bench.figures import Figure, percentile
from bench.ground import Bench
from bench.peer import OUR_PYTHON, Peer, running
from bench.starts import enqueued

IDS = ("job-start-p50", "job-start-p99")
PER_SECOND = 100
BLOCK_S = 3.0
PATIENCE_S = 15.0


async def measure(bench: Bench) -> list[Figure]:
    """Client, worker and watcher are processes of their own, for us and for SAQ."""
    count = bench.scale.count(int(PER_SECOND * BLOCK_S), least=30)
    async with (
        bench.stoker() as stoker,
        bench.worker(stoker),
        Redis.from_url(bench.urls.cache) as cache,
        running("watcher", bench.urls.cache, python=OUR_PYTHON) as watcher,
        running("saq_jobs", bench.urls.queue, bench.urls.cache) as client,
        running("saq_jobs", bench.urls.queue, bench.urls.cache) as worker,
    ):
        wanted = await changes(stoker, count)
        keys = [one.stamp for one in wanted]
        ours: list[list[float]] = []
        theirs: list[list[float]] = []

        async def watched(
            blocks: list[list[float]], enqueue: Callable[[], Awaitable[Mapping[str, int]]]
        ) -> float:
            await cache.mset(dict.fromkeys(keys, b"1"))
            await watcher.ask("forget")
            begun = await enqueue()
            gone = await watcher.ask("seen", count=count, timeout_s=PATIENCE_S)
            blocks.append([(gone[key] - at) / 1e6 for key, at in begun.items()])
            return percentile(blocks[-1], 0.5)

        async def saq() -> float:
            await worker.ask("work", count=count, max_jobs=10)
            figure = await watched(theirs, partial(_stream, client, keys))
            await worker.ask("rest")
            return figure

        await alternate(
            bench.scale.blocks, lambda: watched(ours, partial(enqueued, stoker, wanted, PER_SECOND)), saq
        )
    return [
        Figure(
            row,
            "SAQ",
            "ms",
            bound,
            [percentile(block, share) for block in ours[1:]],
            [percentile(block, share) for block in theirs[1:]],
            "from before the enqueueing to the deletion that the job does, seen by another process",
        )
        for row, share, bound in zip(IDS, (0.5, 0.99), ("<= 1", "<= 1.25"), strict=True)
    ]


async def _stream(client: Peer, keys: Sequence[str]) -> Mapping[str, int]:
    enqueued: Mapping[str, int] = await client.ask("stream", keys=keys, per_second=PER_SECOND)
    return enqueued
