"""Guards of bounded staleness: what may be served without asking, and until when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from stoker import EntryKey, Scope
from stoker.cache.lookup import Plan
from stoker.cache.near import Near, Unasked
from stoker.cache.read import Cache
from stoker.redis.connection import ServerRun
from tests.races.guards.away import Patch, Removal, replaced


def _unbounded(patch: Patch) -> None:
    init = Unasked.__init__

    def made(self: Unasked, unasked_ms: int) -> None:
        init(self, unasked_ms)
        self._for_s = math.inf

    patch.setattr(Unasked, "__init__", made)


def _counted_from_the_reply(patch: Patch) -> None:
    valid = Unasked.valid

    def late(self: Unasked, entry: str, near: Near, _asked_s: float, server: ServerRun) -> None:
        valid(self, entry, near, self.now_s(), server)

    patch.setattr(Unasked, "valid", late)


def _rights_unasked(patch: Patch) -> None:
    plan = Cache._plan

    def careless(self: Cache, key: EntryKey, parent: Scope | None) -> Plan:
        return replace(plan(self, key, parent), may_go_unasked=self.store.lookup.unasked.on)

    patch.setattr(Cache, "_plan", careless)


GUARDS: Mapping[str, Removal] = {
    "the bound on what goes unasked": _unbounded,
    "the bound counted from the question": _counted_from_the_reply,
    "access asked in spite of the bound": _rights_unasked,
    "own writes asking again": replaced(Unasked, "ask_again", lambda _: None),
}
