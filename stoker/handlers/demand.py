"""Which entries are in demand, and so worth building before they are read again.

An entry is in demand if it was read within its TTL and since it was built. An entry that nobody has read
since is not built again, so at most one build is wasted. Best effort: a wrong answer costs a build or a miss,
never a wrong value.
"""

from __future__ import annotations

from collections.abc import Sequence

from stoker.cache.reads import last_reads
from stoker.cache.view import EntryKey
from stoker.stoker import Stoker


async def in_demand(stoker: Stoker, keys: Sequence[EntryKey]) -> list[EntryKey]:
    """Those of the keys that are in demand, the hottest first; raises CacheUnavailable.

    An access entry is in demand when an entry that it guards is: a hit needs both. That of a parent
    is counted as read with each entry within the parent (stoker/cache/accounting.py).
    """
    store = stoker.cache.store
    read_at = await _last_reads(stoker, keys)
    now = (await store.client.server(store.keys.reads)).now_us() / 1e6
    live = [key for key, at in read_at.items() if now - at < stoker.ttl(key.view).total_seconds()]
    names = [stoker.cache.filler.names(key) for key in live]
    # Processes report reads with their next flush, so an entry that was built within two flushes may have
    # been read.
    margin_s = 2 * stoker.settings.cache.stats_flush_s
    built_at = await store.built_at(names)
    return [
        key
        for key, built in zip(live, built_at, strict=True)
        if built is None or read_at[key] >= built - margin_s
    ]


async def _last_reads(stoker: Stoker, keys: Sequence[EntryKey]) -> dict[EntryKey, float]:
    """When entries, or those that they guard, were last read, the hottest first; only remembered ones."""
    store = stoker.cache.store
    asked = {key: _read_as(stoker, key) for key in keys}
    flat = list(dict.fromkeys(one for entries in asked.values() for one in entries))
    last = await last_reads(store.client, store.keys, flat)
    rank = {key: number for number, key in enumerate(last)}
    found = {
        key: max((at for one in entries if (at := last[one]) is not None), default=None)
        for key, entries in asked.items()
    }
    ranked = sorted(asked, key=lambda key: min(rank[one] for one in asked[key]))
    return {key: at for key in ranked if (at := found[key]) is not None}


def _read_as(stoker: Stoker, key: EntryKey) -> list[EntryKey]:
    """The entries whose reads count as reads of this one: the entry itself and those that it guards."""
    views = stoker.domain.views_guarded_by.get(key.view, ())
    guarded = [view.default_key(key.scope) for view in views]
    return [key, *(one for one in guarded if one is not None)]
