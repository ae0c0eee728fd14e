"""Samples what all processes share (lanes, outbox, views' counters) and adds it to the history.

Any number of workers may run it; one of them samples at a time. Figures of a server that is away are left
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import inf

from sqlalchemy import text

from stoker.cache.accounting import ERROR, observed, read_counters
from stoker.cache.reading import Miss, State
from stoker.errors import CacheUnavailable, DatabaseUnavailable, QueueUnavailable, Unavailable
from stoker.histogram import BOUNDS_S, BUCKETS, Observed
from stoker.history.figures import FigureHistory
from stoker.history.memory import cache_memory, queue_memory
from stoker.history.series import ERRORS, MISS, READ, TOOK, WAIT, WAITED, Sample, grown, name
from stoker.history.times import job_times
from stoker.outbox.rows import backlog
from stoker.postgres import database_errors
from stoker.stoker import Stoker
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.depth import depth

TOTALS = {"done": "done", "failed": "failed", "retried": "retried", "dead": "died", "rescued": "rescued"}
"""The engine's names of its totals, and ours: `dead` is the number of dead letters, `died` how many were
added."""
RESTART_S = 5
"""A server that began so much later than it did at the last sample was restarted."""
STATES = (*State, ERROR)
"""By which the times of reads are counted."""
KEPT = ("hits", "stale", "loads", "load_us", "load_errors", *(f"{MISS}{cause}" for cause in Miss))


class Sampler:
    """Takes samples of shared figures."""

    def __init__(self, stoker: Stoker, history: FigureHistory, every: timedelta) -> None:
        self._stoker = stoker
        self._history = history
        self._every = every
        self._failed_at: list[datetime] = []

    async def sample(self) -> bool:
        """Add one sample, if it is our turn; whether it was. Raises DatabaseUnavailable."""
        try:
            return await self._sample()
        except DatabaseUnavailable:
            self._failed_at.append(datetime.now(UTC))
            raise

    async def _sample(self) -> bool:
        async with self._history.sampling(self._every / 2) as marks:
            if self._failed_at:  # whoever lives says that Postgres was away, once it is back
                await self._history.note_outage(self._failed_at[0], self._failed_at[-1])
                self._failed_at.clear()
            if marks is None:
                return False
            # Counters are read under the lock: an older reading that is added later would count as a reset.
            gauges, counters = await self._lanes()
            counters |= await self._waits()
            counters |= await self._views()
            removed, used = await self._servers(marks.known)
            counters |= removed
            changes = await backlog(self._stoker.engine)
            gauges += [
                *used,
                Sample(name("changes", "", "unsettled"), changes.unsettled),
                Sample(name("changes", "", "failing"), changes.failing),
                Sample(name("changes", "", "oldest_s"), changes.oldest_age_s),
            ]
            applied = name("changes", "", "applied")
            samples = [*gauges, *grown(marks.known, counters)]
            if marks.since is not None:
                samples.append(Sample(applied, await self._applied_since(marks.since)))
            await marks.add(samples)
            await marks.move({**counters, applied: 0})
        return True

    async def _lanes(self) -> tuple[list[Sample], dict[str, float]]:
        try:
            lanes = await depth(self._stoker.queue)
        except QueueUnavailable:
            return [], {}
        dead = await DeadLetters(self._stoker.engine).count_by_lane()
        gauges: list[Sample] = []
        counters: dict[str, float] = {}
        for lane, found in lanes.items():
            gauges += [
                Sample(name("lane", lane, what), getattr(found, what))
                for what in ("ready", "deferred", "running", "parked")
            ]
            gauges.append(Sample(name("lane", lane, "oldest_s"), found.oldest_ready_age_s))
            gauges.append(Sample(name("lane", lane, "dead"), dead.get(lane, 0)))
            for theirs, ours in TOTALS.items():
                counters[name("lane", lane, ours)] = found.totals.get(theirs, 0)
        return gauges, counters

    async def _waits(self) -> dict[str, float]:
        try:
            waits = (await job_times(self._stoker.queue)).waits
        except QueueUnavailable:
            return {}
        nothing = Observed({}, {})
        counters: dict[str, float] = {}
        for lane in self._stoker.queue.lanes:
            found = waits.get((lane,), nothing)
            for bound, bucket in zip((*BOUNDS_S, inf), BUCKETS, strict=True):
                counters[name("lane", lane, f"{WAIT}{bucket}")] = found.buckets.get(bound, 0)
                counters[name("lane", lane, f"{WAITED}{bucket}")] = found.sums_s.get(bound, 0)
        return counters

    async def _views(self) -> dict[str, float]:
        store, views = self._stoker.cache.store, sorted(self._stoker.domain.views_by_name)
        try:
            counted = await read_counters(store.client, store.keys, views)
        except CacheUnavailable:
            return {}
        return {
            name("view", view, what): value
            for view, counters in counted.items()
            for what, value in _complete(counters).items()
        }

    async def _servers(self, known: Mapping[str, float]) -> tuple[dict[str, float], list[Sample]]:
        """What each Redis has removed, the memory it uses, and whether it is away or was restarted."""
        counters: dict[str, float] = {}
        samples: list[Sample] = []
        for server, ask in (("cache", cache_memory), ("queue", queue_memory)):
            try:
                found = await ask(self._stoker)
            except Unavailable:
                samples.append(Sample(name("server", server, "down"), 1))
                continue
            counters[name("server", server, "evicted")] = found.evicted
            counters[name("server", server, "expired")] = found.expired
            counters[name("server", server, "started")] = found.started_at_s
            samples.append(Sample(name("server", server, "used_bytes"), found.used_bytes))
        counters[name("server", "database", "started")] = await self._postgres_started()
        samples += _restarts(known, counters)
        return counters, samples

    async def _postgres_started(self) -> float:
        query = text("SELECT extract(epoch FROM pg_postmaster_start_time())")
        with database_errors():
            async with self._stoker.engine.connect() as connection:
                return float((await connection.execute(query)).scalar_one())

    async def _applied_since(self, since: object) -> int:
        query = text("SELECT count(*) FROM stoker.cache_events WHERE settled_at > :since")
        with database_errors():
            async with self._stoker.engine.connect() as connection:
                return int((await connection.execute(query, {"since": since})).scalar_one())


def _complete(counters: Mapping[str, int]) -> dict[str, float]:
    """The counters that are kept; one that was never counted is 0, so that its first count shows."""
    kept: dict[str, float] = {what: counters.get(what, 0) for what in KEPT}
    times = {state: observed(counters, f"read_{state}") for state in STATES}
    for bound, bucket in zip((*BOUNDS_S, inf), BUCKETS, strict=True):
        kept[f"{READ}{bucket}"] = sum(found.buckets[bound] for found in times.values())
        kept[f"{TOOK}{bucket}"] = sum(found.sums_s[bound] for found in times.values())
    kept[ERRORS] = sum(times[ERROR].buckets.values())
    return kept


def _restarts(known: Mapping[str, float], counters: Mapping[str, float]) -> list[Sample]:
    """A sample for each server that was started since the last one; its uptime is told in whole seconds."""
    found = []
    for server in ("database", "queue", "cache"):
        series = name("server", server, "started")
        before, now = known.get(series), counters.get(series)
        if before is not None and now is not None and now > before + RESTART_S:
            found.append(Sample(name("server", server, "restarted"), 1))
    return found
