"""Builds entries together with what guards them: an entry is a hit only with a valid access entry.

Used by warming, by predicted warming and by refreshes. Entries that are valid and young are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from stoker.cache.fill import BuiltBy, Filler
from stoker.cache.loads import LoadTimeout
from stoker.cache.view import Access, EntryKey, Scope
from stoker.domain import Domain
from stoker.errors import Unavailable
from stoker.jobs import Outcome

logger = logging.getLogger(__name__)


def with_guard(domain: Domain, key: EntryKey) -> Iterator[EntryKey]:
    """The entry, after its access entry: it is a hit only together with that.

    Which parent an entry lies within, the entry itself says: `build` builds the access entries of parents.
    """
    view = domain.view(key.view)
    if view.access is Access.MEMBERS:
        yield domain.view(view.access_view).key(key.scope)
    yield key


async def build(filler: Filler, keys: Sequence[EntryKey]) -> dict[EntryKey, Outcome | Exception]:
    """Build entries together, or one by one after an error, so that a bad entry does not keep others cold.

    The access entries of the parents that they lie within are built after them. Returns each entry's outcome,
    or what was raised for it; raises Unavailable when a server does not answer.
    """
    built = await _built_apart(filler, keys)
    await build_access_of_parents(filler, keys)
    return built


async def build_access_of_parents(
    filler: Filler, keys: Sequence[EntryKey], by: BuiltBy = BuiltBy.WARMING
) -> dict[EntryKey, Outcome | Exception]:
    """Build the access entries of the parents that entries in the cache say they lie within."""
    guards = await _access_of_parents(filler, keys)
    return await _built_apart(filler, guards, by) if guards else {}


async def _access_of_parents(filler: Filler, keys: Sequence[EntryKey]) -> list[EntryKey]:
    """The access entries of the parents that entries in the cache say they belong to."""
    catalog = filler.catalog
    within = [key for key in keys if catalog.view(key.view).parent is not None]
    parents = await filler.store.parents([filler.names(key) for key in within])
    named = zip(within, (name.decode(errors="replace").partition(":") for name in parents), strict=True)
    guards = (EntryKey(catalog.view(key.view).access_view, Scope(kind, id_)) for key, (kind, _, id_) in named)
    return [guard for guard in dict.fromkeys(guards) if catalog.takes(guard)]


async def _built_apart(
    filler: Filler, keys: Sequence[EntryKey], by: BuiltBy = BuiltBy.WARMING
) -> dict[EntryKey, Outcome | Exception]:
    built = await _built(filler, keys, by)
    if any(isinstance(one, Exception) for one in built.values()):
        built = {}
        for key in keys:
            built |= await _built(filler, [key], by)
    for key, one in built.items():
        if isinstance(one, Exception):
            logger.warning("warm.entry_failed", extra={"entry": str(key), "error": repr(one)[:200]})
    return built


async def _built(
    filler: Filler, keys: Sequence[EntryKey], by: BuiltBy = BuiltBy.WARMING
) -> dict[EntryKey, Outcome | Exception]:
    try:
        return dict(await filler.fill_many(keys, by))
    except LoadTimeout as error:
        return dict.fromkeys(keys, error)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a loader raises
        return dict.fromkeys(keys, error)
