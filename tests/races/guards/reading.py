"""Guards of reads: what is compared before an entry is served, and who may see it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import stoker.cache.batch
import stoker.cache.lookup
from stoker import EntryKey, Forbidden, Reading, State
from stoker.cache.batch import Answers
from stoker.cache.breaker import Breaker
from stoker.cache.catalog import Catalog
from stoker.cache.envelope import Seal, decode
from stoker.cache.fill import Filled
from stoker.cache.keys import EntryNames
from stoker.cache.lookup import Asked, Lookup, Params, Plan
from stoker.cache.near import Near
from stoker.cache.read import Cache
from stoker.cache.reading import Content, Found, Miss
from stoker.cache.rights import Rights
from stoker.cache.view import Access
from stoker.redis.connection import ServerRun
from tests.races.guards.away import Patch, Removal, both, replaced
from tests.races.guards.server import COMPARED_BY_STORE

Values = tuple[bytes | None, bytes | None, bytes | Near | None]


def judging(
    *, stamps: bool = True, runs: bool = True, missing: bool = True, check: bool = True, hard: bool = True
) -> Removal:
    """Judge stored entries as `_judge` does, without comparing one of these."""

    def holds(stamp: bytes | None, own: bytes, server: ServerRun) -> bool:
        if not stamps:
            return True
        if stamp is None:
            return not missing
        return stamp == own and (not runs or stamp.startswith(server.run))

    def judge(names: EntryNames, values: Values, server: ServerRun, seal: Seal) -> Found:
        soft_stamp, hard_stamp, stored = values
        if isinstance(stored, Near):
            envelope, content = stored
        else:
            read = decode(stored, seal) if stored is not None else None
            if read is None or (check and read.check != names.check):
                return Found(None, None, Miss.COLD, revivable=False, server=server)
            envelope, content = read, Content.stored(read)
        hard_holds = holds(hard_stamp, envelope.hard, server)
        miss = None
        if not (hard_holds and holds(soft_stamp, envelope.stamp, server)):
            miss = Miss.INVALIDATED
        elif envelope.expired(server.now_us()):
            miss = Miss.EXPIRED
        return Found(envelope, content, miss, hard_holds or not hard, server)

    return replaced(stoker.cache.lookup, "_judge", judge)


def _near_unasked(patch: Patch) -> None:
    fetch = Lookup.fetch

    async def fetched(self: Lookup, names: tuple[EntryNames, ...], **options: bool) -> list[Found]:
        kept = [self.near.get(own.entry) for own in names]
        found = await fetch(self, names, **options)
        return [
            one if near is None else Found(*near, None, revivable=True, server=one.server)
            for near, one in zip(kept, found, strict=True)
        ]

    patch.setattr(Lookup, "fetch", fetched)


async def _unchecked_after_miss(
    self: Cache, plan: Plan, cause: Miss, beside: asyncio.Task[Filled] | None, _reader: object
) -> Reading:
    content = (await (beside or self.filler.fill(plan.key))).content
    assert content is not None
    return Reading(content, State.MISS, cause=cause)


async def _unchecked_stale(self: Cache, plan: Plan, _reader: object) -> Reading | None:
    found = (await self.store.lookup.fetch(plan.names))[0]
    return self._answer(plan, found, State.STALE, None) if found.revivable else None


async def _stale_as_it_was_found(self: Cache, plan: Plan, reader: object) -> Reading | None:
    [held] = await self.fetch((plan,))
    if plan.guard is None or held.guard is None or not held.found.revivable:
        return None
    role = await self.rights.role(plan.guard, held.guard, reader)
    return self._answer(plan, held.found, State.STALE, role)


async def _checked_before_sql(self: Cache, plan: Plan, reader: object) -> Reading:
    role = await self.rights.role_in_sql(plan.guard, reader) if plan.guard else None
    body = (await self.filler.loads.load_without_stamp(plan.view, plan.key)).bodies[plan.key]
    return Reading(Content.built(body), State.BYPASS, role=role)


def _fetched_one_by_one(patch: Patch) -> None:
    """Read the right in one round trip and the entry in the next: a removal fits between them."""
    fetch = Lookup.fetch

    async def fetched(self: Lookup, names: tuple[EntryNames, ...], **options: bool) -> list[Found]:
        found = [(await fetch(self, (own,), **options))[0] for own in reversed(names)]
        return found[::-1]

    patch.setattr(Lookup, "fetch", fetched)


async def _overtaken_believed(self: Rights, guard: EntryKey, found: Found, reader: object) -> str:
    content = found.content if found.miss is None else (await self.filler.fill(guard)).content
    role = content.decoded.get(str(reader)) if content is not None else None
    return str(role) if role is not None else await self.role_in_sql(guard, reader)


def _access_revived(patch: Patch) -> None:
    patch.setattr(Catalog, "access_views", frozenset())


async def _refused_unasked(self: Rights, guard: EntryKey, found: Found, reader: object) -> str:
    content = found.content if found.miss is None else (await self.filler.fill(guard)).content
    role = content.decoded.get(str(reader)) if content is not None else None
    if role is None:
        raise Forbidden("the cached access says so")
    return str(role)


async def _incomplete_checked_again(cache: Cache, asked: Sequence[Asked], reader: object) -> Answers:
    plans = [cache.plan(*one, reader=reader) for one in asked]
    held = await cache.fetch(plans)
    await cache.filler.fill_ahead(sorted({key for one in held for key in one.missing()}))
    filled = iter(await cache.fetch([one.plan for one in held if one.missing()]))
    held = [next(filled) if one.missing() else one for one in held]
    return await stoker.cache.batch._answers(cache.conclude(one, reader) for one in held)


async def _all_as_they_came(_: Cache, _asked: object, answers: Answers, _reader: object) -> Answers:
    return answers


async def _nothing_stale(*_: object) -> None:
    return None


def _anybody_by_name(
    self: Cache, view: str, scope_id: object, params: Params = None, _within: object = None, *, reader: object
) -> Plan:
    plan = self._plan(self.catalog.key(view, scope_id, params), None)
    if plan.view.access is Access.OWNER and str(reader) != plan.key.scope.id:
        raise Forbidden("not for this reader")
    return plan


GUARDS: Mapping[str, Removal] = {
    "fail-safe": replaced(Cache, "_stale", _nothing_stale),
    "a missing reader matching no id": replaced(Cache, "plan", _anybody_by_name),
    "an open breaker keeping reads away": replaced(
        Breaker, "open", property(lambda _: False, lambda *_: None)
    ),
    "stamps compared by the read": judging(stamps=False),
    "stamps": both(COMPARED_BY_STORE, judging(stamps=False)),
    "the run compared by the read": judging(runs=False),
    "a missing stamp being a miss": judging(missing=False),
    "the key in the envelope": judging(check=False),
    "the hard stamp": judging(hard=False),
    "the seal of an entry": replaced(Seal, "holds", lambda *_: True),
    "stamps read before a near entry is served": _near_unasked,
    "access checked on every read": replaced(Cache, "_guard", lambda *_: None),
    "access checked after a wait": replaced(Cache, "_after_miss", _unchecked_after_miss),
    "access checked again when all of a batch is built": replaced(
        stoker.cache.batch, "_permitted_still", _all_as_they_came
    ),
    "access checked again after a batch has waited": replaced(
        stoker.cache.batch, "_through_cache", _incomplete_checked_again
    ),
    "entry looked up again after a wait for the right to a stale answer": replaced(
        Cache, "_stale", _stale_as_it_was_found
    ),
    "access checked before a stale answer": replaced(Cache, "_stale", _unchecked_stale),
    "access checked after SQL": replaced(Cache, "_from_sql", _checked_before_sql),
    "access read with what it guards": _fetched_one_by_one,
    "rights loaded again when they were overtaken": replaced(Rights, "role", _overtaken_believed),
    "no fail-safe for access": _access_revived,
    "refusals confirmed in SQL": replaced(Rights, "role", _refused_unasked),
}
