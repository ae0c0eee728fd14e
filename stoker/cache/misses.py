"""Reads that are no hits: something has to be built, or asked of SQL.

Who may read is checked again after every wait (RACES 23). Raises what the loader raised when there is nothing
to fall back on, and CacheUnavailable; `read` then answers from SQL.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence

from stoker.cache.fill import Filled, Filler
from stoker.cache.lookup import Held, Plan
from stoker.cache.reading import Content, Found, Miss, Reading, State
from stoker.cache.rights import Rights
from stoker.errors import CacheUnavailable
from stoker.jobs import Outcome


class Misses(ABC):
    """What `Cache` does when it cannot answer from what it found."""

    def __init__(self, filler: Filler, rights: Rights) -> None:
        self.filler = filler
        self.catalog = filler.catalog
        self.accounting = filler.accounting
        self.rights = rights

    @abstractmethod
    async def fetch(self, plans: Sequence[Plan]) -> list[Held]:
        """What the cache holds for these requests, read in one call."""

    @abstractmethod
    def _answer(self, plan: Plan, found: Found, state: State, role: str | None) -> Reading:
        """A reading of what Redis held."""

    async def _conclude_slowly(self, held: Held, role: str | None, reader: object) -> Reading:
        plan, found, guard, cause = held
        guard_missed = guard is not None and guard.miss is not None
        # Before anything is built: afterwards the stamps say that the entry was there.
        cause = (await self.causes([held]))[0] or cause
        beside = self._begun_beside_the_right(held)
        waited = role is None
        if plan.guard is not None and guard is not None and role is None:
            role = await self.rights.role(plan.guard, guard, reader)
        state = State.HIT if cause is None and not guard_missed else State.MISS
        if state is State.HIT:
            self.accounting.hit(plan, reader)
        else:
            self.accounting.miss(plan, reader)
            self.accounting.count(plan.view.name, f"miss_{cause or Miss.ACCESS}")
            if plan.guard is not None and not guard_missed:
                self.accounting.count(plan.guard.view, "hits")
        if plan.guard is not None and (waited or (plan.parent is not None and found.miss is not None)):
            return await self._after_wait(held._replace(cause=cause), state, beside, reader)
        if found.miss is not None:
            return await self._after_miss(plan, cause, beside, reader)
        return self._answer(plan, found, state, role)._replace(cause=cause)

    async def causes(self, held: Sequence[Held]) -> list[Miss | None]:
        """Why each entry is not valid; asks Redis about those that it may have evicted."""
        absent = [one.plan.names[0] for one in held if one.found.miss is Miss.EVICTED]
        certain = (
            dict(zip(absent, await self.filler.store.absent_because(absent), strict=True)) if absent else {}
        )
        return [
            certain[one.plan.names[0]] if one.found.miss is Miss.EVICTED else one.found.miss for one in held
        ]

    def _begun_beside_the_right(self, held: Held) -> asyncio.Task[Filled] | None:
        """Start the entry's fill if it and its access entry are outdated; the right is checked first.

        Without an access entry nothing is started, because a stranger may be guessing ids. A batch that has
        tried to fill both (`cause`) does not try again.
        """
        guard = held.guard
        outdated = guard is not None and guard.miss in (Miss.INVALIDATED, Miss.EXPIRED)
        if outdated and held.found.miss is not None and held.cause is None:
            return self.filler.start_fill(held.plan.key)
        return None

    async def _after_miss(
        self, plan: Plan, cause: Miss | None, beside: asyncio.Task[Filled] | None, reader: object
    ) -> Reading:
        filled = await self._filled_or_stale(plan, beside, reader)
        if isinstance(filled, Reading):
            return filled
        # Time has passed: the reader may have been removed meanwhile (RACES 23).
        role = None
        if plan.guard is not None:
            [found] = await self.filler.store.lookup.fetch(plan.names[1:])
            role = await self.rights.role(plan.guard, found, reader)
        if filled.content is None or not plan.belongs(filled.parent):
            raise plan.not_found()
        return Reading(filled.content, State.MISS, cause=cause, role=role)

    async def _after_wait(
        self, held: Held, state: State, beside: asyncio.Task[Filled] | None, reader: object
    ) -> Reading:
        """Answer after a wait in which the reader may have got or lost the right, or the entry its parent.

        Entry and right are looked up together once more (RACES 23, 46): what was found before may be from a
        time at which the reader had no right to it. What does not hold by then, or is not for this reader, is
        read from SQL.
        """
        plan, cause = held.plan, None if held.found.miss is None else held.cause
        filled = await self._filled_or_stale(plan, beside, reader) if cause is not None else None
        if isinstance(filled, Reading):
            return filled
        if filled is not None and filled.content is None:
            raise plan.not_found()
        [again] = await self.fetch((plan,))
        role = again.guard.role_of(reader) if again.guard is not None else None
        if again.found.miss is None and role is not None:
            return self._answer(plan, again.found, state, role)._replace(cause=cause)
        if filled is not None and filled.outcome is Outcome.NOT_KEPT:
            return await self._confirmed(plan, filled, State.MISS, cause, reader)
        return await self._from_sql(plan, reader)

    async def _filled_or_stale(
        self, plan: Plan, beside: asyncio.Task[Filled] | None, reader: object
    ) -> Filled | Reading:
        """What is built; or, whatever the loader raised, the last value, marked as stale."""
        try:
            return await self.filler.in_time(asyncio.shield(beside) if beside else self.filler.fill(plan.key))
        except CacheUnavailable:
            raise
        except Exception:
            stale = await self._stale(plan, reader)
            if stale is None:
                raise
            return stale

    async def _stale(self, plan: Plan, reader: object) -> Reading | None:
        """The last value, if its hard stamp holds in a new lookup (RACES 22, 33).

        Never of an access view; and not within a parent, where it may name one that it has left (RACES 46).
        """
        if plan.view.name in self.catalog.access_views or plan.view.parent is not None:
            return None
        [held] = await self.fetch((plan,))
        if not held.found.revivable:
            return None
        role = held.guard.role_of(reader) if held.guard is not None else None
        if plan.guard is not None and held.guard is not None and role is None:
            role = await self.rights.role(plan.guard, held.guard, reader)
            # The reader may have been let in after a hard change (RACES 23).
            [held] = await self.fetch((plan,))
            if not held.found.revivable:
                return None
        self.accounting.count(plan.view.name, "stale")
        return self._answer(plan, held.found, State.STALE, role)

    async def _from_sql(self, plan: Plan, reader: object) -> Reading:
        self.accounting.count(plan.view.name, f"miss_{Miss.BYPASS}")
        loaded = await self.filler.in_time(self.filler.loads.load_without_stamp(plan.view, plan.key))
        body = loaded.bodies.get(plan.key)
        content = Content.built(body) if body is not None else None
        filled = Filled(content, Outcome.NOT_KEPT, loaded.parent_of(plan.key))
        return await self._confirmed(plan, filled, State.BYPASS, Miss.BYPASS, reader)

    async def _confirmed(
        self, plan: Plan, filled: Filled, state: State, cause: Miss | None, reader: object
    ) -> Reading:
        """Answer what was loaded and is not in the cache."""
        # After the load, which may have waited: the reader may have been removed meanwhile (RACES 23).
        role = await self.rights.role_in_sql(plan.guard, reader) if plan.guard else None
        if filled.content is None or not plan.belongs(filled.parent):
            raise plan.not_found()
        return Reading(filled.content, state, cause=cause, role=role)
