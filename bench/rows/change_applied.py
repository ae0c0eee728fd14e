"""From the commit of a change to its stamp being gone, against enqueue to start of arq's jobs and of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import median

from sqlalchemy import text

from bench.blocks import alternate, at_rate
from bench.changes import Change, changes, stamp
from bench.figures import Figure, percentile
from bench.ground import Bench
from bench.peer import OUR_PYTHON, running
from bench.starts import enqueued
from jobs.inputs import PredicateChanges
from jobs.service import ProjectService
from stoker import Stoker

IDS = (
    *("change-applied-p50", "change-applied-p99"),
    *("change-applied-start-p50", "change-applied-start-p99"),
)
SHARES = (0.5, 0.99)
PER_SECOND = 100
BLOCK_S = 3.0
PATIENCE_S = 15.0
ARQ = {"poll_s": 0.5, "max_jobs": 10}
"""arq's defaults."""
COMMITTED = text("""
SELECT id, CAST(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000 AS bigint)
  FROM predicate_devices WHERE id = ANY(:ids)
""")
NOTE = (
    "a web process changes predicate devices through the service, 100 a second; from Postgres' own time of "
    "commit to the cache's keyspace event that the dashboard's stamp is deleted, seen by another process"
)
START_NOTE = (
    "from the answer to the COMMIT, as that of an enqueued job is from before the enqueueing; Postgres' own "
    "time, which it takes before it waits for the disk, is {:.2f} ms earlier at the median"
)


async def measure(bench: Bench) -> list[Figure]:
    """Web app, worker and watcher are processes of their own; so are arq's client and worker."""
    count = bench.scale.count(int(PER_SECOND * BLOCK_S), least=30)
    async with (
        bench.stoker() as stoker,
        bench.worker(stoker),
        running("watcher", bench.urls.cache, python=OUR_PYTHON) as watcher,
        running("arq_jobs", bench.urls.queue, bench.urls.cache) as client,
        running("arq_jobs", bench.urls.queue, bench.urls.cache) as worker,
    ):
        service = ProjectService(stoker)
        wanted = await changes(stoker, count)
        since_written: list[list[float]] = []
        since_answered: list[list[float]] = []
        started: list[list[float]] = []
        theirs: list[list[float]] = []

        async def gone() -> dict[str, int]:
            found: dict[str, int] = await watcher.ask("seen", count=count, timeout_s=PATIENCE_S)
            return found

        async def change_all() -> float:
            await stamp(stoker, wanted)
            await watcher.ask("forget")
            changed = PredicateChanges(similarity=len(since_written) / 100)
            answered: dict[str, int] = {}

            async def change(one: Change) -> None:
                await service.update_predicate(one.owner, one.project, one.predicate, changed)
                answered[one.stamp] = time.time_ns()

            await at_rate(PER_SECOND, [partial(change, one) for one in wanted])
            at = await gone()
            since_written.append(_waited_ms(await _committed(stoker, wanted), at))
            since_answered.append(_waited_ms(answered, at))
            return percentile(since_written[-1], 0.5)

        async def start_all() -> float:
            await stamp(stoker, wanted)
            await watcher.ask("forget")
            begun = await enqueued(stoker, wanted, PER_SECOND)
            started.append(_waited_ms(begun, await gone()))
            return percentile(started[-1], 0.5)

        async def arq_all() -> float:
            await worker.ask("work", count=count, **ARQ)
            await client.ask("stream", keys=[one.stamp for one in wanted], per_second=PER_SECOND)
            ended = await worker.ask("ended", timeout_s=PATIENCE_S)
            await worker.ask("rest")
            theirs.append([waited / 1000 for waited in ended["waited_us"]])
            return percentile(theirs[-1], 0.5)

        await alternate(bench.scale.blocks, change_all, start_all, arq_all)
    earlier_ms = _median(since_written) - _median(since_answered)
    return [
        *_figures(IDS[:2], "stock arq, enqueue to start", ("<= 1", "<= 1"), since_written, theirs, NOTE),
        *_figures(
            *(IDS[2:], "our own job, enqueue to start", ("<= 2", "<= 3")),
            *(since_answered, started, START_NOTE.format(earlier_ms)),
        ),
    ]


def _figures(
    rows: Sequence[str],
    against: str,
    wanted: Sequence[str],
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    note: str,
) -> Iterator[Figure]:
    """A row for the median and one for the tail; the first block of each side is not counted."""
    for row, share, bound in zip(rows, SHARES, wanted, strict=True):
        mine, others = [[percentile(block, share) for block in side[1:]] for side in (ours, theirs)]
        yield Figure(row, against, "ms", bound, mine, others, note if share == SHARES[0] else "")


def _median(blocks: Sequence[Sequence[float]]) -> float:
    return median(percentile(block, 0.5) for block in blocks[1:])


def _waited_ms(since: Mapping[str, int], until: Mapping[str, int]) -> list[float]:
    return [(until[key] - at) / 1e6 for key, at in since.items()]


async def _committed(stoker: Stoker, wanted: Sequence[Change]) -> dict[str, int]:
    """When the last change of each was committed, by its stamp, in wall nanoseconds."""
    async with stoker.session() as session:
        rows = await session.execute(COMMITTED, {"ids": [one.predicate for one in wanted]})
        at_us: dict[int, int] = dict(rows.tuples().all())
    return {one.stamp: at_us[one.predicate] * 1000 for one in wanted}
