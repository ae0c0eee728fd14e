"""A primary is killed under 200 reads a second: the longest time without a hit; failed and stale reads."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.figures import Figure
from bench.ground import Bench
from stoker import (
    Access,
    Domain,
    EntryKey,
    Event,
    Invalidation,
    Job,
    JobContext,
    Lane,
    Rule,
    ScopeKind,
    State,
    Stoker,
    View,
)
from stoker.embedded.cluster import Cluster
from stoker.embedded.sentinels import watching
from stoker.errors import CacheUnavailable
from stoker.handlers.relay import apply_all
from stoker.worker.process import run_worker

IDS = ("cluster-failover", "sentinel-failover")
READS_PER_S = 200
COUNTERS = 30
"""So many that each primary of the cluster has some."""
BEFORE_S, WATCHED_S, LONGEST_S = 1.0, 6.0, 30.0
CHANGE_EVERY_S = 0.1
REQUESTS_EVERY_S = 0.05
TABLE = "CREATE TABLE IF NOT EXISTS bench_failover (id bigint PRIMARY KEY, value bigint NOT NULL)"
COUNTER = ScopeKind("counter")


class Counted(Event):
    """A counter has another value."""

    kind: ClassVar[str] = "bench.counted"
    counter: int


class Tick(Job):
    """A job that was asked for in a transaction."""

    kind = "bench.tick"
    lane = "ticks"
    number: int


async def _load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, object]:
    found = await session.execute(text("SELECT id, value FROM bench_failover"))
    values: dict[int, int] = dict(found.all())
    return {key: {"value": values[key.scope.number]} for key in keys if key.scope.number in values}


@dataclass
class Tally:
    """What readers, writers and jobs saw."""

    applied: dict[int, int] = field(default_factory=dict)
    hits_at: list[float] = field(default_factory=list)
    failed: int = 0
    stale: int = 0
    reads: int = 0
    asked: int = 0
    done: set[int] = field(default_factory=set)

    def longest_gap_s(self, since: float) -> float:
        """The longest time between two hits since then."""
        times = [at for at in self.hits_at if at >= since]
        return max((b - a for a, b in zip([since, *times], times, strict=False)), default=LONGEST_S)

    async def tick(self, _context: JobContext, job: Tick) -> None:
        """The handler of Tick."""
        self.done.add(job.number)

    @property
    def domain(self) -> Domain:
        """Counters that anybody reads, and ticks."""
        return Domain(
            name="failover",
            scopes=(COUNTER,),
            views=(View("value", COUNTER, _load, access=Access.ANYONE),),
            rules=(Rule(Counted, lambda event: [Invalidation(COUNTER.scope(event.counter))]),),
            lanes=(Lane("ticks"),),
            handlers={Tick: self.tick},
        )


async def measure(bench: Bench) -> list[Figure]:
    """Each topology once for each block of the scale, at least."""
    blocks = max(1, bench.scale.blocks // 3)
    cluster = [await _cluster(bench) for _ in range(blocks)]
    sentinel = [await _sentinel(bench) for _ in range(blocks)]
    return [_figure("cluster-failover", cluster), _figure("sentinel-failover", sentinel)]


def _figure(row: str, found: Sequence[tuple[float, Tally]]) -> Figure:
    tallies = [tally for _, tally in found]
    lost = sum(tally.asked - len(tally.done) for tally in tallies)
    reads, failed, stale, asked = (
        sum(getattr(tally, name) for tally in tallies) for name in ("reads", "failed", "stale", "asked")
    )
    note = (
        f"{reads:,} reads, {failed} failed, {stale} stale; {asked} jobs requested, {lost} lost. SQL answers "
        "while there is no hit"
    )
    gaps = [gap for gap, _ in found]
    return Figure(row, "one second", "s", "", gaps, [1.0] * len(gaps), note)


async def _cluster(bench: Bench) -> tuple[float, Tally]:
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as place:
        cluster = Cluster(Path(place))
        try:
            await asyncio.to_thread(cluster.start)
            there = replace(bench, urls=replace(bench.urls, cache=cluster.url))
            return await _run(there, cluster.primaries[0].kill)
        finally:
            cluster.stop()


async def _sentinel(bench: Bench) -> tuple[float, Tally]:
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as place:
        options = {"main": ("--save", "", "--appendonly", "yes")}
        with watching(Path(place), options) as found:  # nothing else runs in this loop yet
            watched = found["main"]
            there = replace(bench, urls=replace(bench.urls, cache=watched.url, queue=watched.url))
            return await _run(there, watched.primary.kill)


async def _run(bench: Bench, kill: Callable[[], None]) -> tuple[float, Tally]:
    tally = Tally()
    async with _opened(bench, tally) as stoker:
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(stoker, stoker.settings, stop))
        beside = [asyncio.create_task(one(stoker, tally, stop)) for one in (_write, _request, _apply)]
        reading = asyncio.create_task(_read(stoker, tally, stop))
        await asyncio.sleep(BEFORE_S)
        killed_at = time.perf_counter()
        await asyncio.to_thread(kill)
        await asyncio.sleep(WATCHED_S)
        await _all_done(tally)
        stop.set()
        await asyncio.gather(reading, *beside, worker)
    return tally.longest_gap_s(killed_at), tally


@asynccontextmanager
async def _opened(bench: Bench, tally: Tally) -> AsyncIterator[Stoker]:
    settings = bench.settings()
    schedule = settings.schedule.model_copy(update={"enable_background_warming": False})
    async with Stoker.opened(settings.model_copy(update={"schedule": schedule}), tally.domain) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text(TABLE))
            await session.execute(
                text(
                    "INSERT INTO bench_failover SELECT n, 0 FROM generate_series(1, :count) n"
                    " ON CONFLICT (id) DO UPDATE SET value = 0"
                ),
                {"count": COUNTERS},
            )
        for counter in range(1, COUNTERS + 1):
            await stoker.read("value", counter)
        yield stoker


async def _read(stoker: Stoker, tally: Tally, stop: asyncio.Event) -> None:
    """So many reads a second, one after the other: one that takes long delays the next ones."""
    number = 0
    while not stop.is_set():
        counter = number % COUNTERS + 1
        least = tally.applied.get(counter, 0)
        tally.reads += 1
        try:
            reading = await stoker.read("value", counter)
        except Exception:  # noqa: BLE001 - whatever it is, a client would have got a 5xx
            tally.failed += 1
        else:
            tally.stale += reading.value["value"] < least
            if reading.state is State.HIT:
                tally.hits_at.append(time.perf_counter())
        number += 1
        await asyncio.sleep(1 / READS_PER_S)


async def _write(stoker: Stoker, tally: Tally, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        counter = number % COUNTERS + 1
        async with stoker.session() as session, session.begin():
            await session.execute(
                text("UPDATE bench_failover SET value = :value WHERE id = :id"),
                {"value": number, "id": counter},
            )
            receipt = stoker.record(session, Counted(counter=counter))
        if await receipt.applied() == "applied":
            tally.applied[counter] = number
        await asyncio.sleep(CHANGE_EVERY_S)


async def _request(stoker: Stoker, tally: Tally, stop: asyncio.Event) -> None:
    while not stop.is_set():
        number = tally.asked
        tally.asked += 1  # before the commit: `_all_done` may look while it is under way
        async with stoker.session() as session, session.begin():
            stoker.enqueue_in(session, Tick(number=number))
        await asyncio.sleep(REQUESTS_EVERY_S)


async def _apply(stoker: Stoker, _tally: Tally, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with suppress(CacheUnavailable):
            await apply_all(stoker)
        await asyncio.sleep(CHANGE_EVERY_S)


async def _all_done(tally: Tally) -> None:
    """Wait for the jobs that were asked for up to now; what is not done in time counts as lost."""
    asked, give_up = tally.asked, time.perf_counter() + LONGEST_S
    while len(tally.done) < asked and time.perf_counter() < give_up:  # noqa: ASYNC110 - a bench, not a test
        await asyncio.sleep(CHANGE_EVERY_S)
    tally.asked = asked
    tally.done = {number for number in tally.done if number < asked}
