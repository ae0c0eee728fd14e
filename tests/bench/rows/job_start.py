"""Enqueue to start of a one-command job at 100 a second, against SAQ; stock arq and taskiq beside it.

The job unlinks one key; the figure is the time from before its enqueueing to the key being gone, for every
library alike: what it starts later, or does more slowly, counts.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from redis.asyncio import Redis

from jobs import Invalidate
from tests.bench.blocks import alternate, at_rate
from tests.bench.changes import Change, changes
from tests.bench.figures import Figure, percentile
from tests.bench.ground import Bench
from tests.bench.peer import OUR_PYTHON, Peer, running

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
            enqueued = await enqueue()
            gone = await watcher.ask("seen", count=count, timeout_s=PATIENCE_S)
            blocks.append([(gone[key] - at) / 1e6 for key, at in enqueued.items()])
            return percentile(blocks[-1], 0.5)

        async def enqueue_all() -> Mapping[str, int]:
            enqueued: dict[str, int] = {}

            async def one(change: Change) -> None:
                enqueued[change.stamp] = time.time_ns()
                await stoker.enqueue(
                    Invalidate(scope_kind="project", scope_id=str(change.project), views=("dashboard",))
                )

            await at_rate(PER_SECOND, [partial(one, change) for change in wanted])
            return enqueued

        async def saq() -> float:
            await worker.ask("work", count=count, max_jobs=10)
            figure = await watched(theirs, partial(_stream, client, keys))
            await worker.ask("rest")
            return figure

        await alternate(bench.scale.blocks, lambda: watched(ours, enqueue_all), saq)
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
