"""Building values from SQL: capped, bounded in time, in a fresh transaction.

One path for every fill. The transaction begins after the stamps were taken (RACES 4); it reads the primary
(RACES 5). Readers without a stamp may join a load that has not begun its transaction yet: its snapshot will
be newer than their requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from stoker.cache.detached import Detached
from stoker.cache.view import Bodies, EntryKey, View
from stoker.errors import DatabaseUnavailable, DeclarationError
from stoker.postgres import database_errors, was_a_write, was_canceled
from stoker.silence import Silence


@dataclass(frozen=True, slots=True)
class Loaded:
    """Bodies by key, and the microseconds that building one of them took. A key without a body has no row.

    `parents`: what entries within a parent belong to, as the loader said beside their bodies.
    """

    bodies: Mapping[EntryKey, bytes]
    build_us: int
    parents: Mapping[EntryKey, bytes] = field(default_factory=dict)

    def parent_of(self, key: EntryKey) -> bytes:
        """The parent of an entry; empty for none."""
        return self.parents.get(key, b"")


class LoadTimeout(DatabaseUnavailable):
    """A loader took longer than its limit; trying again would only take longer."""


class Loads:
    """Runs loaders on connections of their own, at most `cap` at once in a process."""

    def __init__(
        self, engine: AsyncEngine, detached: Detached, silence: Silence, *, cap: int, limit: timedelta
    ) -> None:
        self._engine = engine
        self._silence = silence
        self._detached = detached
        self.cap = cap
        self._slots = asyncio.Semaphore(cap)
        self._limit_s = limit.total_seconds()
        self._waiting: dict[EntryKey, asyncio.Task[Loaded]] = {}
        self.running = 0
        """Loads that hold a slot now."""

    async def load(self, view: View, keys: Sequence[EntryKey]) -> Loaded:
        """Load entries of one view; raises DatabaseUnavailable, or what the loader raised."""
        self._silence.refuse()
        async with self._slots:
            return await self._run(view, keys)

    async def load_without_stamp(self, view: View, key: EntryKey) -> Loaded:
        """Load one entry that will not be stored. Joins a load that has not begun, except one of access."""
        self._silence.refuse()
        if view.name == view.access_view:
            return await self.load(view, [key])
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._detached.start(self._load_waiting(view, key))
            self._waiting[key] = waiting
        return await asyncio.shield(waiting)

    async def _load_waiting(self, view: View, key: EntryKey) -> Loaded:
        try:
            async with self._slots:
                # The transaction opens now: later readers must not join this load (RACES 31).
                del self._waiting[key]
                return await self._run(view, [key])
        finally:
            if self._waiting.get(key) is asyncio.current_task():
                del self._waiting[key]

    async def _run(self, view: View, keys: Sequence[EntryKey]) -> Loaded:
        started = time.perf_counter_ns()
        self.running += 1
        try:
            bodies, parents = await self._in_snapshot(view, keys)
        except LoadTimeout:
            raise
        except DatabaseUnavailable:
            self._silence.refuse()
            # A pooled connection may have died with a restarted server: try once more on a new one.
            bodies, parents = await self._in_snapshot(view, keys)
        finally:
            self.running -= 1
        return Loaded(bodies, (time.perf_counter_ns() - started) // 1000 // max(1, len(keys)), parents)

    async def _in_snapshot(self, view: View, keys: Sequence[EntryKey]) -> Bodies:
        try:
            # The limit is outside: its TimeoutError is an OSError, too, but not an outage.
            async with asyncio.timeout(self._limit_s), self._session() as session:
                with database_errors():
                    values = await view.load(session, keys)
        except TimeoutError as error:
            raise LoadTimeout(f"building {view.name} took over {self._limit_s:g} s") from error
        except DatabaseUnavailable as error:
            if was_canceled(error):
                raise LoadTimeout(f"a statement of {view.name} took too long") from error
            if was_a_write(error):
                raise DeclarationError(
                    f"the loader of view {view.name} writes or locks rows: a loader may only read; write "
                    "in a session of the application, and record an event there"
                ) from error
            raise
        return view.bodies(keys, values)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession]:
        session = AsyncSession(self._engine)
        try:
            yield session
        finally:
            # The transaction only read, so no reader waits until its connection is given back.
            self._detached.finish(session.close())
