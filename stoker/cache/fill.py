"""Filling entries: the one path by which a value gets into the cache.

Reads, refreshes and warming all come through here: take the stamps, win the lease, load in a fresh
transaction, store only under unchanged stamps (RACES 1, 2, 18). Leases avoid duplicate work; correctness
comes from the stamps alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import groupby
from typing import TypeVar

from stoker.cache.accounting import Accounting
from stoker.cache.catalog import Catalog
from stoker.cache.deadline import in_time
from stoker.cache.detached import Detached
from stoker.cache.envelope import LARGEST_BODY_BYTES, LONGEST_NAME, Envelope, etag_of, pack
from stoker.cache.keys import EntryNames
from stoker.cache.loads import Loads
from stoker.cache.reading import Content
from stoker.cache.store import Claim, Store
from stoker.cache.view import EntryKey, View
from stoker.errors import CacheUnavailable
from stoker.jobs import Outcome
from stoker.process_name import process_name
from stoker.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S, WAIT_GROWTH = 0.003, 0.1, 1.4
"""A reader that waits for another process's build claims again after these times, in one round trip each."""


class BuiltBy(StrEnum):
    """What built an entry; stored with it, for operators."""

    READ = "read"
    REFRESH = "refresh"
    WARMING = "warming"


@dataclass(frozen=True, slots=True)
class Filled:
    """A value and whether it was stored; None for a row that does not exist. `parent`: what it belongs to."""

    content: Content | None
    outcome: Outcome
    parent: bytes = b""


class Filler:
    """Builds entries and stores them, unless a change overtook the build."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        loads: Loads,
        settings: Settings,
        accounting: Accounting,
        detached: Detached,
    ) -> None:
        self.catalog = catalog
        self.store = store
        self.loads = loads
        self.accounting = accounting
        self._settings = settings
        self._detached = detached
        self._flights: dict[tuple[str, bytes, bytes], asyncio.Task[list[Filled]]] = {}

    def names(self, key: EntryKey) -> EntryNames:
        """The entry's keys in Redis."""
        return self.store.keys.entry(key, self.catalog.view(key.view).layout)

    async def fill(self, key: EntryKey) -> Filled:
        """The value of an entry for a reader that missed; raises CacheUnavailable or the loader's error."""
        view = self.catalog.view(key.view)
        names = self.names(key)
        give_up = time.monotonic() + self._settings.cache.lease_wait_s
        wait_s = FIRST_WAIT_S
        while True:
            claim = await self._claim(names)
            if claim is None:  # the cache's memory is full: nothing can be kept (RACES 44)
                loaded = await self.loads.load_without_stamp(view, key)
                body = loaded.bodies.get(key)
                content = Content.built(body) if body is not None else None
                return Filled(content, Outcome.NOT_KEPT, loaded.parent_of(key))
            if claim.built:
                self._detached.start(self._release([claim]))
                built = await self._built_elsewhere(names)
                if built is not None:
                    return built
            flight = self._join(claim)
            if flight is None and (claim.won or time.monotonic() >= give_up):
                flight = self._start(view, key, claim)
            if flight is not None:
                return (await asyncio.shield(flight))[0]
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * WAIT_GROWTH, LONGEST_WAIT_S)

    def start_fill(self, key: EntryKey) -> asyncio.Task[Filled]:
        """Start `fill` in a task of its own. It runs to its end even if nobody waits for it."""
        return self._detached.start(self.fill(key))

    async def in_time(self, work: Awaitable[T]) -> T:
        """Wait for SQL on behalf of a reader; raises DatabaseUnavailable when its deadline is over."""
        return await in_time(work, self._settings.database.deadline_s)

    async def fill_many(
        self, keys: Sequence[EntryKey], by: BuiltBy = BuiltBy.WARMING
    ) -> dict[EntryKey, Outcome]:
        """Build the entries that are missing or due for a refresh, with one load for each view.

        Raises CacheUnavailable or the loader's error. Entries that others are building are left to them.
        """
        names = {key: self.names(key) for key in keys}
        outcomes: dict[EntryKey, Outcome] = {}
        # Ask Redis itself: it may have evicted what this process still keeps near.
        found = await self.store.lookup.peek(names.values())
        for key, one in zip(names, found, strict=True):
            if one.miss is None and one.envelope and not one.envelope.eager(one.server.now_us()):
                outcomes[key] = Outcome.FRESH
        wanted = [key for key in names if key not in outcomes]
        claims = await self._claims([names[key] for key in wanted]) if wanted else []
        won: list[tuple[EntryKey, Claim]] = []
        for key, claim in zip(wanted, claims, strict=True):
            if claim is None:
                outcomes[key] = Outcome.NOT_KEPT
            elif claim.won:
                won.append((key, claim))
            else:
                outcomes[key] = Outcome.ALREADY_BUILDING
        by_view = sorted(won, key=lambda pair: pair[0].view)
        groups = [list(group) for _, group in groupby(by_view, key=lambda pair: pair[0].view)]
        for at, mine in enumerate(groups):
            try:
                filled = await self._build(self.catalog.view(mine[0][0].view), mine, by)
            except BaseException:
                # The remaining views will not be built here: give their leases back (RACES 12).
                await self._release([claim for rest in groups[at + 1 :] for _, claim in rest])
                raise
            outcomes.update({key: one.outcome for (key, _), one in zip(mine, filled, strict=True)})
        return outcomes

    async def fill_ahead(self, keys: Sequence[EntryKey]) -> None:
        """Build entries before many readers ask for them; an error is left to their own reads.

        Raises CacheUnavailable.
        """
        try:
            await asyncio.shield(self._detached.start(self.fill_many(keys, BuiltBy.READ)))
        except CacheUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a loader raises
            logger.info("fill.ahead_failed", extra={"error": repr(error)[:200]})

    async def _claim(self, names: EntryNames) -> Claim | None:
        return (await self._claims([names]))[0]

    async def _claims(self, names: Sequence[EntryNames]) -> list[Claim | None]:
        """Take the stamps and try the leases; a caller that is cancelled gives them back (RACES 41)."""
        taking = self._detached.start(self.store.begin(names))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._detached.start(self._give_back(taking))
            raise

    async def _give_back(self, taking: asyncio.Task[list[Claim | None]]) -> None:
        await self._release([claim for claim in await taking if claim is not None])

    def _join(self, claim: Claim) -> asyncio.Task[list[Filled]] | None:
        # A reader joins only a load under the same stamps that it has just obtained (RACES 31).
        return self._flights.get(claim.flight)

    def _start(self, view: View, key: EntryKey, claim: Claim) -> asyncio.Task[list[Filled]]:
        flight = self._detached.start(self._build(view, [(key, claim)], BuiltBy.READ))
        self._flights[claim.flight] = flight
        flight.add_done_callback(lambda _: self._flights.pop(claim.flight, None))
        return flight

    async def _built_elsewhere(self, names: EntryNames) -> Filled | None:
        found = (await self.store.lookup.fetch((names,)))[0]
        if found.miss is not None or found.envelope is None:
            return None
        return Filled(found.content, Outcome.STORED, found.envelope.parent)

    async def _build(self, view: View, claims: Sequence[tuple[EntryKey, Claim]], by: BuiltBy) -> list[Filled]:
        """Load and store entries of one view. Their stamps were taken before the transaction begins."""
        builder = f"{by} {process_name()}".encode()[:LONGEST_NAME]
        started_us = [claim.server.now_us() for _, claim in claims]
        try:
            loaded = await self.loads.load(view, [key for key, _ in claims])
        except BaseException:
            await self._release([claim for _, claim in claims])
            self.accounting.count(view.name, "load_errors")
            raise
        self.accounting.count(view.name, "loads", len(loaded.bodies))
        self.accounting.observe(view.name, "load", loaded.build_us, len(claims))
        filled: list[Filled] = []
        to_store: list[tuple[Claim, Envelope, timedelta]] = []
        for (key, claim), created_us in zip(claims, started_us, strict=True):
            body = loaded.bodies.get(key)
            if body is None:  # the row is gone, perhaps since this was queued: nothing is stored (RACES 29)
                filled.append(Filled(None, Outcome.GONE))
                continue
            if len(body) > LARGEST_BODY_BYTES:  # `decode` refuses entries of this size
                logger.warning("fill.too_large", extra={"entry": str(key), "bytes": len(body)})
                filled.append(Filled(Content.built(body), Outcome.NOT_KEPT, loaded.parent_of(key)))
                continue
            envelope, life = self._envelope(view, claim, body, created_us, loaded.build_us)
            envelope = envelope._replace(parent=loaded.parent_of(key), builder=builder)
            to_store.append((claim, envelope, life))
            content = Content(body, envelope.etag, envelope)
            filled.append(Filled(content, Outcome.STORED, envelope.parent))
        return await self._keep(view, claims, filled, to_store)

    async def _keep(
        self,
        view: View,
        claims: Sequence[tuple[EntryKey, Claim]],
        filled: list[Filled],
        to_store: list[tuple[Claim, Envelope, timedelta]],
    ) -> list[Filled]:
        await self._release(
            [
                claim
                for (_, claim), one in zip(claims, filled, strict=True)
                if one.outcome is not Outcome.STORED
            ]
        )
        try:
            outcomes = iter(await self.store.store(to_store) if to_store else [])
        except CacheUnavailable:
            outcomes = iter([Outcome.NOT_KEPT] * len(to_store))  # the caller still gets the value
        kept = [
            replace(one, outcome=next(outcomes)) if one.outcome is Outcome.STORED else one for one in filled
        ]
        for one in kept:
            self.accounting.count(view.name, one.outcome)
        stored_bytes = sum(len(envelope.packed) for _, envelope, _ in to_store)
        self.accounting.count(view.name, "stored_bytes", stored_bytes)
        self.accounting.count(view.name, "body_bytes", sum(e.body_bytes for _, e, _ in to_store))
        return kept

    async def _release(self, claims: Sequence[Claim]) -> None:
        try:
            await self.store.release(claims)
        except CacheUnavailable:
            return  # the lease ends by itself

    def _envelope(
        self, view: View, claim: Claim, body: bytes, created_us: int, build_us: int
    ) -> tuple[Envelope, timedelta]:
        cache = self._settings.cache
        # Entries that were filled together must not expire together (RACES 19).
        shortened = 1 - cache.ttl_jitter * random.random()  # noqa: S311 - spreads load, hides nothing
        ttl = self._settings.ttl(view.name, view.ttl) * shortened
        eager = ttl * (cache.eager_refresh * shortened if cache.eager_refresh < 1 else 1)
        codec, packed = pack(body, cache.compress_from_bytes)
        envelope = Envelope(
            codec=codec,
            created_us=created_us,
            ttl_ms=_ms(ttl),
            eager_ms=_ms(eager),
            build_us=min(build_us, 2**32 - 1),
            etag=etag_of(body),
            check=claim.names.check,
            stamp=claim.stamp,
            hard=claim.hard,
            body_bytes=len(body),
            packed=packed,
        )
        return envelope, ttl + timedelta(seconds=cache.fail_safe_s)


def _ms(duration: timedelta) -> int:
    return max(1, round(duration.total_seconds() * 1000))
