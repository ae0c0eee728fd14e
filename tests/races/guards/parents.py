"""Guards of entries within a parent: that they are shown under their own parent only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import stoker.cache.batch
from stoker import EntryKey, NotFound, Reading, Scope, State
from stoker.cache.batch import Answers
from stoker.cache.fill import Filled
from stoker.cache.lookup import Asked, Held, Plan
from stoker.cache.read import Cache
from tests.races.guards.away import Patch, Removal, replaced


def _any_parent(patch: Patch) -> None:
    plan = Cache._plan

    def careless(self: Cache, key: EntryKey, parent: Scope | None, *, guarded: bool = True) -> Plan:
        return replace(plan(self, key, parent, guarded=guarded), parent=None)

    patch.setattr(Cache, "_plan", careless)


async def _as_it_was_found(
    self: Cache, held: Held, state: State, beside: asyncio.Task[Filled] | None, _reader: object
) -> Reading:
    """Answer after a wait from what was looked up before the wait."""
    if held.found.miss is None:
        return self._answer(held.plan, held.found, state, None)
    filled = await self._filled_or_stale(held.plan, beside, _reader)
    assert isinstance(filled, Filled)
    if filled.content is None or not held.plan.belongs(filled.parent):
        raise NotFound("elsewhere")
    return Reading(filled.content, state)


def _revived(patch: Patch) -> None:
    after_wait = Cache._after_wait

    async def revived(
        self: Cache,
        held: Held,
        state: State,
        beside: asyncio.Task[Filled] | None,
        reader: object,
    ) -> Reading:
        try:
            return await after_wait(self, held, state, beside, reader)
        except RuntimeError:
            [outdated] = await self.fetch((held.plan,))
            return self._answer(held.plan, outdated.found, State.STALE, None)

    patch.setattr(Cache, "_after_wait", revived)


async def _all_as_they_came(_: Cache, _asked: Sequence[Asked], answers: Answers, _reader: object) -> Answers:
    return answers


GUARDS: Mapping[str, Removal] = {
    "the parent of an entry compared": _any_parent,
    "entry and right looked up again after a wait": replaced(Cache, "_after_wait", _as_it_was_found),
    "no fail-safe within a parent": _revived,
    "parents looked up again after a batch has waited": replaced(
        stoker.cache.batch, "_within_still", _all_as_they_came
    ),
}
