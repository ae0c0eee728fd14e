"""Reading through the cache: one round trip for a hit, none within a term, SQL for everything else.

A hit goes through this file from top to bottom: `read` makes a plan, fetches what the cache holds for it, and
concludes. Who may read is checked on every read before a byte is answered (RACES 23). When Redis does not
answer, the breaker opens and reads go to SQL; nothing here raises because the cache is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache

from stoker.cache.breaker import Breaker
from stoker.cache.fill import Filled, Filler
from stoker.cache.keys import write_key
from stoker.cache.lookup import Held, Params, Plan
from stoker.cache.readers import SYSTEM
from stoker.cache.reading import Content, Found, Miss, Reading, State
from stoker.cache.rights import Rights
from stoker.cache.view import Access, EntryKey, Scope, View
from stoker.cache.within import parent_name
from stoker.errors import CacheUnavailable, Forbidden, NotFound
from stoker.jobs import Outcome

AskRefresh = Callable[[EntryKey], None]
PLANS_KEPT = 5_000
"""Plans that are remembered. Each takes about 3 KB and saves a fifth of the cost of a hit."""
PLAIN = (int, str)
"""Types of ids by which a plan is found without making the key first."""
LONGEST_KEPT = 500
"""Plans with longer parameters, in characters, are not remembered."""


class Cache:
    """Cached reads of a catalog's views."""

    def __init__(self, filler: Filler, breaker: Breaker, ask_refresh: AskRefresh) -> None:
        self.filler = filler
        self.breaker = breaker
        self.catalog = filler.catalog
        self.store = filler.store
        self.accounting = filler.accounting
        self.rights = Rights(filler, breaker)
        self._ask_refresh = ask_refresh
        self._lookup = filler.store.lookup
        self._near = filler.store.lookup.near
        self._kept_plan = lru_cache(maxsize=PLANS_KEPT)(self._plan)
        self._plain_plan = lru_cache(maxsize=PLANS_KEPT, typed=True)(self._make_plan)

    async def read(
        self,
        view: str | View,
        scope_id: object,
        params: Params = None,
        within: object = None,
        *,
        reader: object = None,
        bypass: bool = False,
    ) -> Reading:
        """Read one entry as `reader` (an id that the access view names, or the owner's).

        Raises NotFound, Forbidden, BadRequest naming the field, or what the loader raised when there is
        nothing to fall back on. `bypass` answers from SQL without asking or filling the cache.
        """
        plan = self.plan(view, scope_id, params, within, reader=reader)
        if not bypass and not self.breaker.open:
            try:
                found = self._near.in_term(plan.names) or await self._lookup.fetch(plan.names)
                if (reading := self._at_hand(plan, found, reader)) is not None:
                    self.accounting.hit(plan, reader)
                    return reading
                return await self.conclude(_held(plan, found), reader)
            except CacheUnavailable as error:
                self.breaker.trip(str(error))
        return await self._from_sql(plan, reader)

    def plan(
        self,
        view: str | View,
        scope_id: object,
        params: Params = None,
        within: object = None,
        *,
        reader: object,
    ) -> Plan:
        """The plan of a request; raises BadRequest, or Forbidden for another owner's scope."""
        if reader is SYSTEM:
            return self._unguarded_plan(view, scope_id, params, within)
        if params is None and type(scope_id) in PLAIN and (within is None or type(within) in PLAIN):
            plan = self._plain_plan(view if type(view) is str else view.name, scope_id, None, within)  # type: ignore[union-attr]
        else:
            plan = self._make_plan(view, scope_id, params, within)
        access = plan.view.access
        # A missing reader must not match the id 'None'.
        if access is not Access.ANYONE and reader is None:
            raise Forbidden(f"{plan.key} is for certain readers only: pass reader=...")
        if access is Access.OWNER and str(reader) != plan.key.scope.id:
            raise Forbidden(f"{plan.key} is not for this reader")
        return plan

    async def fetch(self, plans: Sequence[Plan], *, within_terms: bool = False) -> list[Held]:
        """What the cache holds for these requests, read in one call; nothing is asked `within_terms`."""
        found = {plan: self._near.in_term(plan.names) if within_terms else None for plan in plans}
        names = tuple(dict.fromkeys(own for plan in plans if not found[plan] for own in plan.names))
        asked = dict(zip(names, await self._lookup.fetch(names), strict=True)) if names else {}
        return [_held(plan, found[plan] or [asked[own] for own in plan.names]) for plan in plans]

    async def conclude(self, held: Held, reader: object) -> Reading:
        """Check who reads, then answer from what was found, or build it; raises as `read` does."""
        plan, found, guard, cause = held
        role = guard.role_of(reader) if guard is not None else None
        if found.miss is None and cause is None and (role is not None or guard is None):
            if found.content is not None and found.content.is_heavy:
                await found.content.unpack()
            self.accounting.hit(plan, reader)
            return self._answer(plan, found, State.HIT, role)
        return await self._conclude_slowly(held, role, reader)

    def is_at_hand(self, held: Held, reader: object) -> bool:
        """Whether `conclude` answers from what was found without waiting."""
        permitted = held.guard is None or held.guard.role_of(reader) is not None
        heavy = held.found.content is not None and held.found.content.is_heavy
        return held.found.miss is None and permitted and not heavy

    def at_once(self, plan: Plan, found: Sequence[Found], reader: object) -> Reading | None:
        """As `conclude`, in any thread; None where there is something to build, to ask or to wait for."""
        envelope = found[0].envelope
        if envelope is None or envelope.eager(found[0].server.now_us()):
            return None  # the loop builds it, or asks for its refresh
        reading = self._at_hand(plan, found, reader)
        if reading is not None:
            self.accounting.hit_in_thread(plan, reader)
        return reading

    def _at_hand(self, plan: Plan, found: Sequence[Found], reader: object) -> Reading | None:
        """The answer, if what was found is valid and permits it, and need not be unpacked in a thread."""
        own, role = found[0], None
        if own.miss is not None or own.content is None or own.content.is_heavy:
            return None
        if plan.guard is not None and (role := found[1].role_of(reader)) is None:
            return None
        return self._answer(plan, own, State.HIT, role)

    def _answer(self, plan: Plan, found: Found, state: State, role: str | None) -> Reading:
        """A reading of what Redis held; `found` has an envelope. Raises NotFound under a wrong parent."""
        envelope, content = found.envelope, found.content
        assert envelope is not None  # noqa: S101 - the caller has checked it
        assert content is not None  # noqa: S101 - the same
        if plan.parent is not None and envelope.parent != plan.parent:
            raise _not_found(plan)
        now_us = found.server.now_us()
        if state is not State.STALE and envelope.eager(now_us):
            self._ask_refresh(plan.key)
        age = timedelta(microseconds=max(0, now_us - envelope.created_us))
        return Reading(content, state, age, found.miss, role)

    # A hit ends above. Below, something has to be built or asked of SQL.

    async def _conclude_slowly(self, held: Held, role: str | None, reader: object) -> Reading:
        plan, found, guard, cause = held
        guard_missed = guard is not None and guard.miss is not None
        beside = self._begun_beside_the_right(held)
        waited = role is None
        if plan.guard is not None and guard is not None and role is None:
            role = await self.rights.role(plan.guard, guard, reader)
        cause = found.miss or cause
        state = State.HIT if cause is None and not guard_missed else State.MISS
        if state is State.HIT:
            self.accounting.hit(plan, reader)
        else:
            self.accounting.miss(plan, reader)
            self.accounting.count(plan.view.name, f"miss_{cause or 'access'}")
            if plan.guard is not None and not guard_missed:
                self.accounting.count(plan.guard.view, "hits")
        if role is not None and plan.parent is not None and (waited or found.miss is not None):
            return await self._after_wait_within(held, state, role, beside, reader)
        if found.miss is not None:
            return await self._after_miss(plan, found.miss, beside, reader)
        return self._answer(plan, found, state, role)

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
        self, plan: Plan, cause: Miss, beside: asyncio.Task[Filled] | None, reader: object
    ) -> Reading:
        try:
            filled = await self._filled(plan, beside)
        except CacheUnavailable:
            raise
        except Exception:
            # Whatever the loader raised, fail-safe may answer with the last value, marked as stale.
            stale = await self._stale(plan, reader)
            if stale is None:
                raise
            return stale
        # Time has passed: the reader may have been removed meanwhile (RACES 23).
        role = None
        if plan.guard is not None:
            [found] = await self._lookup.fetch(plan.names[1:])
            role = await self.rights.role(plan.guard, found, reader)
        if filled.content is None or not plan.belongs(filled.parent):
            raise _not_found(plan)
        return Reading(filled.content, State.MISS, cause=cause, role=role)

    async def _after_wait_within(
        self, held: Held, state: State, role: str, beside: asyncio.Task[Filled] | None, reader: object
    ) -> Reading:
        """Answer from a parent after a wait, in which the entry may have moved to another (RACES 46).

        The parent and the right to it are looked up together once more. What does not hold by then is read
        from SQL. Fail-safe does not come here: an outdated entry may name a parent that it has left.
        """
        plan, cause = held.plan, held.found.miss
        filled = await self._filled(plan, beside) if cause is not None else None
        if filled is not None and filled.content is None:
            raise _not_found(plan)
        [again] = await self.fetch((plan,))
        if again.found.miss is None and again.guard is not None and again.guard.miss is None:
            role = again.guard.role_of(reader) or role
            return self._answer(plan, again.found, state, role)._replace(cause=cause)
        if filled is not None and filled.outcome is Outcome.NOT_KEPT:
            return await self._confirmed(plan, filled, State.MISS, cause, reader)
        return await self._from_sql(plan, reader)

    async def _filled(self, plan: Plan, beside: asyncio.Task[Filled] | None) -> Filled:
        return await self.filler.in_time(asyncio.shield(beside) if beside else self.filler.fill(plan.key))

    async def _stale(self, plan: Plan, reader: object) -> Reading | None:
        """The last value, if its hard stamp holds in a new lookup (RACES 22, 33); never of an access view."""
        if plan.view.name in self.catalog.access_views:
            return None
        [held] = await self.fetch((plan,))
        if not held.found.revivable:
            return None
        role = None
        if plan.guard is not None and held.guard is not None:
            role = await self.rights.role(plan.guard, held.guard, reader)
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
            raise _not_found(plan)
        return Reading(filled.content, state, cause=cause, role=role)

    def _make_plan(self, view: str | View, scope_id: object, params: Params, within: object) -> Plan:
        key = self.catalog.key(view, scope_id, params)
        parent = self.catalog.parent(view, within)
        return self._kept_plan(key, parent) if len(key.params) <= LONGEST_KEPT else self._plan(key, parent)

    def _unguarded_plan(self, view: str | View, scope_id: object, params: Params, within: object) -> Plan:
        """For SYSTEM, who needs no right and may leave the parent out."""
        key = self.catalog.key(view, scope_id, params)
        parent = None if within is None else self.catalog.parent(view, within)
        return self._plan(key, parent, guarded=False)

    def _plan(self, key: EntryKey, parent: Scope | None, *, guarded: bool = True) -> Plan:
        view = self.catalog.view(key.view)
        guard = self._guard(view, key, parent) if guarded else None
        keys, views = self.store.keys, self.catalog.views_by_name
        names = tuple(keys.entry(one, views[one.view].layout) for one in (key, guard) if one is not None)
        of = parent_name(*parent) if parent is not None else None
        return Plan(view, key, guard, names, write_key(key), of)

    def _guard(self, view: View, key: EntryKey, parent: Scope | None) -> EntryKey | None:
        return EntryKey(view.access_view, parent or key.scope) if view.is_guarded else None


def _held(plan: Plan, found: Sequence[Found]) -> Held:
    return Held(plan, found[0], found[1] if plan.guard is not None else None)


def _not_found(plan: Plan) -> NotFound:
    """The same for what is nowhere and for what is elsewhere: it must not tell that it exists."""
    return NotFound(f"{plan.key} does not exist")
