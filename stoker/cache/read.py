"""Reading through the cache: one round trip for a hit, none within a term, SQL for everything else.

A hit goes through this file from top to bottom: `read` makes a plan, fetches what the cache holds for it, and
concludes. Who may read is checked on every read before a byte is answered (RACES 23). When Redis does not
answer, the breaker opens and reads go to SQL; nothing here raises because the cache is away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from time import perf_counter

from stoker.cache.accounting import ERROR
from stoker.cache.breaker import Breaker
from stoker.cache.fill import Filler
from stoker.cache.keys import write_key
from stoker.cache.lookup import Held, Params, Plan
from stoker.cache.misses import Misses
from stoker.cache.readers import SYSTEM
from stoker.cache.reading import Found, Reading, State
from stoker.cache.rights import Rights
from stoker.cache.view import Access, EntryKey, Scope, View
from stoker.cache.within import parent_name
from stoker.errors import BadRequest, CacheUnavailable, Forbidden, NotFound

AskRefresh = Callable[[EntryKey], None]
PLANS_KEPT = 5_000
"""Plans that are remembered. Each takes about 3 KB and saves a fifth of the cost of a hit."""
PLAIN = (int, str)
PLAIN_READERS = (int, str, type(None))
"""Types of ids by which a plan is found without making the key first."""
REFUSALS = (NotFound, Forbidden, BadRequest)
"""What a read raises that did not fail."""
LONGEST_KEPT = 500
"""Plans with longer parameters, in characters, are not remembered."""


class Cache(Misses):
    """Cached reads of a catalog's views."""

    def __init__(self, filler: Filler, breaker: Breaker, ask_refresh: AskRefresh) -> None:
        super().__init__(filler, Rights(filler, breaker))
        self.breaker = breaker
        self.store = filler.store
        self._ask_refresh = ask_refresh
        self._lookup = filler.store.lookup
        self._terms = filler.store.lookup.terms
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
        began_s = perf_counter()
        plan = self.plan(view, scope_id, params, within, reader=reader)
        try:
            reading = None
            if not bypass and not self.breaker.open:
                if (reading := self.in_term(plan, reader)) is not None:
                    self.accounting.hit(plan, reader)
                    plan.times.append(perf_counter() - began_s)
                    return reading
                try:
                    reading = await self.conclude(await self._asked(plan), reader)
                except CacheUnavailable as error:
                    self.breaker.trip(str(error))
            if reading is None:
                reading = await self._from_sql(plan, reader)
        except REFUSALS:
            raise  # an answer, too: what does not exist, or is not for this reader
        except Exception:
            self.accounting.took(plan.view.name, ERROR, perf_counter() - began_s)
            raise
        if reading.state is State.HIT:
            plan.times.append(perf_counter() - began_s)
        else:
            self.accounting.took(plan.view.name, reading.state, perf_counter() - began_s)
        return reading

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

    def in_term(self, plan: Plan, reader: object) -> Reading | None:
        """The answer that was found valid within a term, in any thread; None: Redis must be asked."""
        served = self._terms.of(plan)
        if served is None or type(reader) not in PLAIN_READERS:
            return None
        reading = served.readings.get(reader)
        if reading is None and (reading := self._at_hand(plan, served.found, reader)) is not None:
            served.readings[reader] = reading
        return reading

    async def fetch(self, plans: Sequence[Plan], *, within_terms: bool = False) -> list[Held]:
        """What the cache holds for these requests, read in one call; nothing is asked `within_terms`."""
        served = {plan: self._terms.of(plan) if within_terms else None for plan in plans}
        asking = [plan for plan, one in served.items() if one is None]
        names = tuple(dict.fromkeys(own for plan in asking for own in plan.names))
        apart = any(plan.parent is not None for plan in asking)
        asked_s = self._terms.now_s()
        told = await self._lookup.fetch(names, in_order=apart) if names else []
        asked = dict(zip(names, told, strict=True))
        held = {}
        for plan, one in served.items():
            found = one.found if one is not None else [asked[own] for own in plan.names]
            if one is None:
                self._terms.grant(plan, found, asked_s)
            held[plan] = _held(plan, found)
        return [held[plan] for plan in plans]

    async def _asked(self, plan: Plan) -> Held:
        if ending := self._terms.ending():
            return await self._asked_with(plan, ending)
        asked_s = self._terms.now_s()  # before the question: the reply may come at any time after its answer
        found = await self._lookup.fetch(plan.names, in_order=plan.parent is not None)
        self._terms.grant(plan, found, asked_s)
        return _held(plan, found)

    async def _asked_with(self, plan: Plan, others: Sequence[Plan]) -> Held:
        """Ask for the stamps of others by the same command, so that their terms are renewed."""
        cheap = [other for other in others if self._lookup.needs_stamps_only(other.names)]
        held, *renewed = await self.fetch([plan, *cheap])
        for one in renewed:
            envelope = one.found.envelope
            if envelope is not None and envelope.eager(one.found.server.now_us()):
                self._ask_refresh(one.plan.key)
        return held

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
        return plan.reading(own, State.HIT, role)

    def _answer(self, plan: Plan, found: Found, state: State, role: str | None) -> Reading:
        """As `Plan.reading`; asks for a refresh past the entry's eager age."""
        envelope = found.envelope
        if state is not State.STALE and envelope is not None and envelope.eager(found.server.now_us()):
            self._ask_refresh(plan.key)
        return plan.reading(found, state, role)

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
        return Plan(view, key, guard, names, write_key(key), of, self.accounting.times_of(view.name))

    def _guard(self, view: View, key: EntryKey, parent: Scope | None) -> EntryKey | None:
        return EntryKey(view.access_view, parent or key.scope) if view.is_guarded else None


def _held(plan: Plan, found: Sequence[Found]) -> Held:
    return Held(plan, found[0], found[1] if plan.guard is not None else None)
