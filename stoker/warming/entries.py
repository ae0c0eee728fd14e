"""What prediction knows of entries: how long each is served, what it costs, and which may be warmed.

Entries are texts, as `write_key` writes them. Those that this release does not have are nobody's.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

from stoker.cache.accounting import read_counters
from stoker.cache.keys import parse_key, write_key
from stoker.cache.view import EntryKey
from stoker.cache.visits import Change
from stoker.jobs import KeepWarm
from stoker.postgres import database_errors
from stoker.prediction.activity import ENTRIES_KEPT
from stoker.prediction.features import Kind
from stoker.rules import EVERY_SCOPE
from stoker.stoker import Stoker
from stoker.warm_plans import ACTIVE

BUILD_S = 0.02
"""What building an entry costs where none of its view was built yet."""
NEVER = Kind(0, 1.0)
"""Of an entry that this release does not have."""


def name_of(key: EntryKey) -> str:
    """The text of an entry."""
    return write_key(key).decode()


class Entries:
    """The entries of one Stoker."""

    def __init__(self, stoker: Stoker) -> None:
        self._stoker = stoker
        self._kinds = {
            name: Kind(
                int.from_bytes(blake2b(name.encode(), digest_size=2).digest()),
                stoker.ttl(name).total_seconds(),
            )
            for name in stoker.domain.views_by_name
        }
        self._build_s: dict[str, float] = {}
        self.key = lru_cache(maxsize=2 * ENTRIES_KEPT)(self._key)

    def kind(self, entry: Hashable) -> Kind:
        """How an entry's view behaves."""
        key = self.key(entry)
        return NEVER if key is None else self._kinds[key.view]

    def cost(self, entry: Hashable) -> float:
        """Seconds that building it takes: the mean of its view."""
        key = self.key(entry)
        return self._build_s.get(key.view, BUILD_S) if key is not None else BUILD_S

    async def learn_costs(self) -> None:
        """Read what building took lately; raises CacheUnavailable."""
        store = self._stoker.cache.store
        counters = await read_counters(store.client, store.keys, self._kinds)
        for view, found in counters.items():
            if found.get("loads", 0) > 0:
                self._build_s[view] = max(1e-5, found.get("load_us", 0) / found["loads"] / 1e6)

    async def planned(self) -> list[str]:
        """What the warm plan of active users names, most urgent first; raises DatabaseUnavailable."""
        domain = self._stoker.domain
        if not domain.has_warm_plan(ACTIVE):
            return []
        with database_errors():
            async with self._stoker.session() as session:
                keys = await domain.warm_plan(ACTIVE).entries(session, None)
        # An access entry is built with what it guards.
        return [name_of(key) for key in keys if key.view not in domain.access_views][:ENTRIES_KEPT]

    def may_be_warmed(self, planned: Sequence[str], read: Iterable[str]) -> list[str]:
        """The plan's entries; and what is read, where the schedule keeps that warm, too."""
        keeps = any(isinstance(one.job, KeepWarm) for one in self._stoker.domain.whole_schedule)
        found = [*planned, *(read if keeps else ())]
        return [one for one in dict.fromkeys(found) if self.key(one) is not None]

    def changed(self, change: Change, known: Iterable[str]) -> list[str]:
        """Which of the known entries an invalidation concerns."""
        return [
            entry
            for entry in known
            if (key := self.key(entry)) is not None
            and change.scope in (key.scope, (EVERY_SCOPE, ""))
            and (not change.views or key.view in change.views)
        ]

    def _key(self, entry: Hashable) -> EntryKey | None:
        key = parse_key(entry.encode()) if isinstance(entry, str) else None
        return key if key is not None and self._stoker.domain.takes(key) else None
