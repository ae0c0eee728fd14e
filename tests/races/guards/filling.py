"""Guards of filling: stamps before loads, fresh transactions, flights and their limits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

import stoker.cache.fill
import stoker.cache.loads
import stoker.parts
from stoker import EntryKey, Stoker, View, postgres
from stoker.cache.fill import Filled, Filler
from stoker.cache.keys import EntryNames
from stoker.cache.loads import Loaded, Loads
from stoker.cache.reading import Content
from stoker.cache.store import Claim
from stoker.cache.view import Bodies
from stoker.settings import Settings
from stoker.silence import Silence
from tests.races.guards.away import Patch, Removal, replaced


async def load_then_stamp(self: Filler, key: EntryKey) -> Filled:
    view = self.catalog.view(key.view)
    loaded = await self.loads.load(view, [key])
    claim = (await self.store.begin([self.store.keys.entry(key, view.version)]))[0]
    assert claim is not None
    envelope, life = self._envelope(view, claim, loaded.bodies[key], claim.server.now_us(), 1)
    outcome = (await self.store.store([(claim, envelope, life)]))[0]
    return Filled(Content.built(loaded.bodies[key]), outcome)


def _old_snapshot(patch: Patch) -> None:
    """Load in one session for all, as a request's own session would be."""
    sessions: dict[int, AsyncSession] = {}
    alone = asyncio.Lock()
    close = Stoker.close

    async def closing(self: Stoker) -> None:
        for session in sessions.values():
            await session.close()
        await close(self)

    async def load(self: Loads, view: View, keys: Sequence[EntryKey]) -> Bodies:
        session = sessions.setdefault(id(self), AsyncSession(self._engine))
        async with alone:
            return view.bodies(keys, await view.load(session, keys))

    patch.setattr(Stoker, "close", closing)
    patch.setattr(Loads, "_in_snapshot", load)


def _join_by_entry(self: Filler, claim: Claim) -> asyncio.Task[list[Filled]] | None:
    return next((flight for key, flight in self._flights.items() if key[0] == claim.names.entry), None)


def _negative_entries(patch: Patch) -> None:
    load = Loads.load

    async def loaded(self: Loads, view: View, keys: Sequence[EntryKey]) -> Loaded:
        found = await load(self, view, keys)
        return Loaded({key: found.bodies.get(key, b"{}") for key in keys}, found.build_us)

    patch.setattr(Loads, "load", loaded)


def _uncapped(patch: Patch) -> None:
    semaphore = asyncio.Semaphore
    patch.setattr(
        stoker.cache.loads,
        "asyncio",
        SimpleNamespace(**{**vars(asyncio), "Semaphore": lambda _: semaphore(999)}),
    )


async def _begun_in_the_request(self: Filler, names: Sequence[EntryNames]) -> list[Claim | None]:
    return await self.store.begin(names)


def _one_view_after_another(patch: Patch) -> None:
    """A batch whose views know nothing of each other, so that a failing one forgets the others' leases."""

    async def released(self: Filler, claims: Sequence[Claim]) -> None:
        failed = next((claim for claim in claims if ":detail" in claim.names.entry), None)
        await self.store.release([failed] if failed else [])

    patch.setattr(Filler, "_release", released)


async def _joined_to_the_end(self: Loads, view: View, key: EntryKey) -> Loaded:
    try:
        return await self.load(view, [key])
    finally:
        del self._waiting[key]


REPLICA = ""
"""Where a replica is that lags; a test sets it."""


def _loaders_on_a_replica(patch: Patch) -> None:
    engine = postgres.loader_engine

    def replica_engine(settings: Settings, silence: Silence) -> AsyncEngine:
        return engine(settings.model_copy(update={"database_url": SecretStr(REPLICA)}), silence)

    patch.setattr(stoker.parts, "loader_engine", replica_engine)


GUARDS: Mapping[str, Removal] = {
    "the stamp before the load": replaced(Filler, "fill", load_then_stamp),
    "a fresh transaction": _old_snapshot,
    "loaders on the primary": _loaders_on_a_replica,
    "one future per process": replaced(Filler, "_join", lambda *_: None),
    "flights joined only under one's own stamp": replaced(Filler, "_join", _join_by_entry),
    "no load joined that has begun": replaced(Loads, "_load_waiting", _joined_to_the_end),
    "detached loads": replaced(
        stoker.cache.fill, "asyncio", SimpleNamespace(**{**vars(asyncio), "shield": lambda flight: flight})
    ),
    "nothing kept of what does not exist": _negative_entries,
    "the cap on loads": _uncapped,
    "leases given back by who goes away": replaced(Filler, "_claims", _begun_in_the_request),
    "leases of a whole batch given back": _one_view_after_another,
    "jitter": replaced(
        stoker.cache.fill, "random", SimpleNamespace(**{**vars(random), "random": lambda: 0.0})
    ),
}
