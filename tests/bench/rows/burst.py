"""20,000 recorded events on 1,000 projects until all are applied, against one stock arq job for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from jobs import Stoker
from jobs.projects.events import PredicateUpdated
from tests.bench.blocks import alternate
from tests.bench.changes import Change, changes, stamp
from tests.bench.figures import Figure
from tests.bench.ground import Bench, until_settled
from tests.bench.peer import Peer, running

IDS = ("burst", "burst-recording")
EVENTS, PROJECTS = 20_000, 1_000
RECORDED = 600
"""Events of a block that includes recording them one by one."""
JOBS = 4_000
"""Jobs of one of arq's blocks: its rate does not depend on how many there are, and the time is limited."""
WRITERS = 16
PATIENCE_S = 120.0
ARQ = {"poll_s": 0.01, "max_jobs": 100}
"""Its best: with more polling or fewer jobs at once it does less."""


async def measure(bench: Bench) -> list[Figure]:
    """One worker process each. Both begin with what was recorded, or enqueued, beforehand."""
    events = bench.scale.count(EVENTS)
    jobs = EVENTS if bench.scale.full else bench.scale.count(JOBS)
    recorded = bench.scale.count(RECORDED)
    async with (
        bench.stoker() as stoker,
        bench.worker(stoker),
        running("arq_jobs", bench.urls.queue, bench.urls.cache) as client,
        running("arq_jobs", bench.urls.queue, bench.urls.cache) as worker,
    ):
        wanted = await changes(stoker, PROJECTS)
        keys = [one.stamp for one in wanted]
        best, *plain = await alternate(
            bench.scale.blocks,
            lambda: _applied(stoker, wanted, events),
            lambda: _drained(client, worker, _repeated(keys, jobs)),
            lambda: _recorded_and_applied(stoker, wanted, recorded),
            lambda: _enqueued_and_run(client, worker, _repeated(keys, recorded)),
        )
    return [
        Figure(
            "burst",
            f"stock arq, a job each, polling every {ARQ['poll_s'] * 1000:g} ms",
            "events/s",
            ">= 30",
            best,
            plain[0],
            f"{events:,} events become visible by one commit, {jobs:,} jobs lie in arq's queue; recording "
            "and enqueueing are not counted",
        ),
        Figure(
            "burst-recording",
            "stock arq, enqueueing included",
            "events/s",
            "",
            plain[1],
            plain[2],
            f"{recorded:,} transactions of one event each by 16 writers at once, against as many "
            "enqueueings; the worker runs meanwhile",
        ),
    ]


async def _applied(stoker: Stoker, wanted: Sequence[Change], count: int) -> float:
    await stamp(stoker, wanted)
    async with stoker.session() as session, session.begin():
        for number in range(count):
            stoker.record(session, _event(wanted, number))
        await session.flush()
        started = time.monotonic()  # what is left of the transaction is its commit
    return count / (await until_settled(stoker, PATIENCE_S) - started)


async def _recorded_and_applied(stoker: Stoker, wanted: Sequence[Change], count: int) -> float:
    await stamp(stoker, wanted)
    numbers = iter(range(count))

    async def writer() -> None:
        for number in numbers:
            async with stoker.session() as session, session.begin():
                stoker.record(session, _event(wanted, number))

    started = time.monotonic()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return count / (await until_settled(stoker, PATIENCE_S) - started)


async def _drained(client: Peer, worker: Peer, keys: Sequence[str]) -> float:
    await client.ask("fill", keys=keys)
    began_ns = await worker.ask("work", count=len(keys), **ARQ)
    ended = await worker.ask("ended", timeout_s=PATIENCE_S)
    await worker.ask("rest")
    return 1e9 * len(keys) / float(ended["last_ns"] - began_ns)


async def _enqueued_and_run(client: Peer, worker: Peer, keys: Sequence[str]) -> float:
    began_ns = await worker.ask("work", count=len(keys), **ARQ)
    await client.ask("fill", keys=keys)
    ended = await worker.ask("ended", timeout_s=PATIENCE_S)
    await worker.ask("rest")
    return 1e9 * len(keys) / float(ended["last_ns"] - began_ns)


def _event(wanted: Sequence[Change], number: int) -> PredicateUpdated:
    one = wanted[number % len(wanted)]
    return PredicateUpdated(project_id=one.project, item_id=one.predicate)


def _repeated(keys: Sequence[str], count: int) -> list[str]:
    return [keys[number % len(keys)] for number in range(count)]
