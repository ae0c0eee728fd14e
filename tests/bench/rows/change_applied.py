"""From the commit of a change to its stamp being gone, against enqueue to start of a stock arq job."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import text

from jobs import Stoker
from jobs.projects.inputs import PredicateChanges
from jobs.projects.service import ProjectService
from tests.bench.blocks import alternate, at_rate
from tests.bench.changes import Change, changes, stamp
from tests.bench.figures import Figure, percentile
from tests.bench.ground import Bench
from tests.bench.peer import OUR_PYTHON, running

IDS = ("change-applied-p50", "change-applied-p99")
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
        ours: list[list[float]] = []
        theirs: list[list[float]] = []

        async def change_all() -> float:
            await stamp(stoker, wanted)
            await watcher.ask("forget")
            changed = PredicateChanges(similarity=len(ours) / 100)

            async def change(one: Change) -> None:
                await service.update_predicate(one.owner, one.project, one.predicate, changed)

            await at_rate(PER_SECOND, [partial(change, one) for one in wanted])
            gone = await watcher.ask("seen", count=count, timeout_s=PATIENCE_S)
            committed = await _committed(stoker, wanted)
            ours.append([(gone[key] - at) / 1e6 for key, at in committed.items()])
            return percentile(ours[-1], 0.5)

        async def arq_all() -> float:
            await worker.ask("work", count=count, **ARQ)
            await client.ask("stream", keys=[one.stamp for one in wanted], per_second=PER_SECOND)
            ended = await worker.ask("ended", timeout_s=PATIENCE_S)
            await worker.ask("rest")
            theirs.append([waited / 1000 for waited in ended["waited_us"]])
            return percentile(theirs[-1], 0.5)

        await alternate(bench.scale.blocks, change_all, arq_all)
    return [
        Figure(
            row,
            "stock arq, enqueue to start",
            "ms",
            "<= 1",
            [percentile(block, share) for block in ours[1:]],
            [percentile(block, share) for block in theirs[1:]],
            NOTE if share == 0.5 else "",
        )
        for row, share in zip(IDS, (0.5, 0.99), strict=True)
    ]


async def _committed(stoker: Stoker, wanted: Sequence[Change]) -> dict[str, int]:
    """When the last change of each was committed, by its stamp, in wall nanoseconds."""
    async with stoker.session() as session:
        rows = await session.execute(COMMITTED, {"ids": [one.predicate for one in wanted]})
        at_us: dict[int, int] = dict(rows.tuples().all())
    return {one.stamp: at_us[one.predicate] * 1000 for one in wanted}
