"""The week of bench/week.py on real servers: real reads and changes, and jobs as a worker runs them.

The clock jumps from act to act, so nothing is late: the next act begins when the servers have done what this
one asks for. The worker's part is done in this process by `stoker.testing.drain` (jobs are claimed, run and
ended by the same scripts and functions as in a worker) and by the worker's own `Forecaster`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from bench.ground import SEED, Bench, forget_events
from bench.replay.office import MISSES, REFRESH, WARM, Clock, Loads, domain, furnish
from bench.replay.trace import WORDS
from bench.week import (
    ACTIVE,
    EAGER,
    KEEP,
    PEOPLE,
    PREDICT,
    Act,
    Office,
    Played,
    Tick,
    timeline,
)
from jobs.inputs import ProjectChanges
from jobs.service import ProjectService
from stoker import KeepWarm, Settings, State, Stoker, Warm
from stoker.testing import drain
from stoker.warming.rows import in_force
from stoker.worker.forecaster import Forecaster

FLUSH_S = 2.0
"""A process tells its reads so long after the first of them, as `cache.stats_flush_s` says."""
OFTEN_S = 60.0
"""Simulated seconds between two reports of progress."""
PATIENCE_S = 30.0
"""Seconds for which the cache may be silent: what else the machine does must not become a miss."""


class Distorted(Exception):
    """Something did not happen as in reality, so no figure counts."""


@dataclass(frozen=True)
class Prediction:
    """What the predictor may do: `budget_s` seconds of loading a minute; nothing below `least`."""

    budget_s: float
    least: float


@dataclass(frozen=True)
class Replayed:
    """What was counted."""

    played: Played
    loads: Loads
    took_s: float
    """Real seconds."""


class Replay:
    """One office on one Stoker."""

    def __init__(
        self, stoker: Stoker, office: Office, clock: Clock, loads: Loads, prediction: Prediction | None
    ) -> None:
        self._stoker, self._office, self._clock, self._loads = stoker, office, clock, loads
        self._service = ProjectService(stoker)
        self._forecaster = Forecaster(stoker, "replay") if prediction else None
        self._unsent_since: float | None = None
        self._written = 0
        self.played = Played()

    async def play(self, progress: Callable[[float], None]) -> Played:
        """All days; `progress` gets the time. Raises Distorted."""
        told = self._clock.now
        for one in timeline(self._office.acts):
            await self._go_on(one.at)
            if isinstance(one, Tick):
                await self._tick(one)
            elif one.changes:
                await self._change(one)
            else:
                await self._read(one)
            if one.at >= told + OFTEN_S:
                told = one.at
                progress(told)
        return self.played

    async def _go_on(self, at: float) -> None:
        """Let time pass; the process flushes its counters on the way."""
        if self._unsent_since is not None and at >= self._unsent_since + FLUSH_S:
            self._clock.set(self._unsent_since + FLUSH_S)
            await self._flush()
        self._clock.set(at)

    async def _flush(self) -> None:
        store = self._stoker.cache.store
        await self._stoker.accounting.flush(store.client, store.keys)
        self._unsent_since = None

    async def _tick(self, tick: Tick) -> None:
        self._loads.cause = WARM
        if tick.what == ACTIVE:
            await self._stoker.enqueue(Warm(unless_predicted=True))
            await self._work()
        elif tick.what == KEEP:
            await self._stoker.enqueue(KeepWarm())
            await self._work()
        elif tick.what == PREDICT and self._forecaster:
            await self._forecaster.once(timedelta(seconds=tick.step_s))
            await self._flush()
            if tick.at >= self._office.counted_from:
                self.played.in_force[await in_force(self._stoker.engine)] += 1

    async def _read(self, act: Act) -> None:
        view, *where = act.entry.split("/")
        scope = int(where[0]) + 1
        params = {"query": WORDS[int(where[1])]} if view == "search" else None
        self._loads.cause = MISSES
        self._unsent_since = self._clock.now if self._unsent_since is None else self._unsent_since
        reading = await self._stoker.read(view, scope, params, reader=act.person + 1)
        if reading.state not in (State.HIT, State.MISS):
            raise Distorted(f"{act.entry} was answered as {reading.state}")
        if act.at >= self._office.counted_from:
            self.played.reads[view] += 1
            self.played.hits[view] += reading.state is State.HIT
        if reading.state is State.HIT and reading.age >= self._youngest_eager(view):
            self._loads.cause = REFRESH
            await self._work()

    def _youngest_eager(self, view: str) -> timedelta:
        """From this age on an entry may have asked for a refresh."""
        shortest = 1 - self._stoker.settings.cache.ttl_jitter
        return self._stoker.ttl(view) * shortest * EAGER * shortest

    async def _change(self, act: Act) -> None:
        await self._flush()
        self._written += 1
        changes = ProjectChanges(intended_use=f"Measures what matters, in its version {self._written}.")
        await self._service.update_project(act.person + 1, int(act.entry) + 1, changes)
        self._loads.cause = REFRESH
        await self._work()

    async def _work(self) -> None:
        """What a worker does until nothing is left to do."""
        drained = await drain(self._stoker, later=True)
        if drained.waiting:
            raise Distorted(f"jobs still wait: {drained.waiting}")
        await self._flush()


async def replay(
    bench: Bench, office: Office, prediction: Prediction | None, progress: Callable[[float], None]
) -> Replayed:
    """One run, on a database of its own and an empty cache; raises Distorted."""
    random.seed(SEED)  # entries' lives are shortened at random
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(bench.other_database("bench_week", PEOPLE))
        await own.flush()
        clock = Clock()
        loads = Loads(clock, office.counted_from)
        stack.enter_context(clock.shown())
        settings = _settings(own, prediction)
        stoker = await stack.enter_async_context(Stoker.opened(settings, domain(clock, loads)))
        async with stoker.engine.begin() as connection:
            await furnish(connection, office)
        await forget_events(own.urls.database)
        played = await Replay(stoker, office, clock, loads, prediction).play(progress)
    for cause in (MISSES, REFRESH, WARM):
        played.sql_s[cause] = loads.model_s(cause)
    return Replayed(played, loads, time.monotonic() - began)


def _settings(bench: Bench, prediction: Prediction | None) -> Settings:
    plain = bench.settings(timeout_s=PATIENCE_S)
    chosen = {
        "warm_budget_s": prediction.budget_s if prediction else 0.0,
        "warm_least": prediction.least if prediction else 0.0,
    }
    return plain.model_copy(update={"schedule": plain.schedule.model_copy(update=chosen)})
