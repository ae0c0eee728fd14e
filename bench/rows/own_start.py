"""Start of an application's own job, enqueued against SAQ, and requested in a transaction against enqueued.

Each job unlinks one key. The figure is the time from before the enqueueing, or from the answer to the COMMIT,
until the key is gone.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from redis.asyncio import Redis

from bench.blocks import alternate, at_rate
from bench.figures import Figure, percentile
from bench.ground import Bench
from bench.noop import Unlink, domain
from bench.peer import OUR_PYTHON, running
from stoker import Stoker

IDS = ("own-job-start-p50", "own-job-start-p99", "commit-start-p50")
PER_SECOND = 100
BLOCK_S = 3.0
PATIENCE_S = 15.0
NOTE = "from before the enqueueing to the deletion that the job does, seen by another process"
COMMIT_NOTE = "from the answer to the COMMIT of a transaction that has the request alone"
Begin = Callable[[], Awaitable[Mapping[str, int]]]
"""Asks for a job for each key; when the measured time of each began, in nanoseconds of the wall clock."""


async def measure(bench: Bench) -> list[Figure]:
    """Client, worker and watcher are processes of their own, for us and for SAQ."""
    count = bench.scale.count(int(PER_SECOND * BLOCK_S), least=30)
    keys = [f"plain:{number}" for number in range(count)]
    async with (
        bench.stoker(domain) as stoker,
        bench.worker(stoker, STOKER__DOMAIN="bench.noop"),
        Redis.from_url(bench.urls.cache) as cache,
        running("watcher", bench.urls.cache, python=OUR_PYTHON) as watcher,
        running("saq_jobs", bench.urls.queue, bench.urls.cache) as client,
        running("saq_jobs", bench.urls.queue, bench.urls.cache) as worker,
    ):

        async def watched(blocks: list[list[float]], begin: Begin) -> float:
            await cache.mset(dict.fromkeys(keys, b"1"))
            await watcher.ask("forget")
            begun = await begin()
            gone = await watcher.ask("seen", count=count, timeout_s=PATIENCE_S)
            blocks.append([(gone[key] - at) / 1e6 for key, at in begun.items()])
            return percentile(blocks[-1], 0.5)

        async def by_saq(blocks: list[list[float]]) -> float:
            await worker.ask("work", count=count, max_jobs=10)
            figure = await watched(blocks, partial(client.ask, "stream", keys=keys, per_second=PER_SECOND))
            await worker.ask("rest")
            return figure

        enqueued: list[list[float]] = []
        committed: list[list[float]] = []
        theirs: list[list[float]] = []
        await alternate(
            bench.scale.blocks,
            partial(watched, enqueued, partial(_enqueued, stoker, keys)),
            partial(watched, committed, partial(_committed, stoker, keys)),
            partial(by_saq, theirs),
        )
    return [
        _figure(IDS[0], "SAQ", "<= 1", (enqueued, theirs), 0.5, NOTE),
        _figure(IDS[1], "SAQ", "<= 1.25", (enqueued, theirs), 0.99, NOTE),
        _figure(IDS[2], "the same job enqueued", "<= 1.5", (committed, enqueued), 0.5, COMMIT_NOTE),
    ]


def _figure(
    row: str,
    against: str,
    wanted: str,
    sides: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]],
    share: float,
    note: str,
) -> Figure:
    """The first block of each side is not counted."""
    ours, theirs = ([percentile(block, share) for block in side[1:]] for side in sides)
    return Figure(row, against, "ms", wanted, ours, theirs, note)


async def _enqueued(stoker: Stoker, keys: Sequence[str]) -> Mapping[str, int]:
    begun: dict[str, int] = {}

    async def one(key: str) -> None:
        begun[key] = time.time_ns()
        await stoker.enqueue(Unlink(key=key))

    await at_rate(PER_SECOND, [partial(one, key) for key in keys])
    return begun


async def _committed(stoker: Stoker, keys: Sequence[str]) -> Mapping[str, int]:
    answered: dict[str, int] = {}

    async def one(key: str) -> None:
        async with stoker.session() as session:
            stoker.enqueue_in(session, Unlink(key=key))
            await session.commit()
            answered[key] = time.time_ns()

    await at_rate(PER_SECOND, [partial(one, key) for key in keys])
    return answered
