"""At rest: every cached entry in Redis equals SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic_core import from_json

from stoker import EntryKey, Scope, Stoker
from stoker.cache.keys import EntryNames
from stoker.cache.reads import recently_read
from stoker.chaos.keys import names as stored_names
from stoker.chaos.scene import Scene
from stoker.warm_plans import ACTIVE

DAY_S = 86400.0
MOST = 20_000
BATCH = 100


@dataclass
class Entries:
    """The result of the comparison."""

    in_redis: int = 0
    compared: int = 0
    outdated: int = 0
    """Entries left behind by an invalidation: no reader gets them."""
    unknown: list[str] = field(default_factory=list)
    """Keys of unknown entries, for which no read of this run is remembered."""
    wrong: list[str] = field(default_factory=list)


async def compare(scene: Scene, stoker: Stoker) -> Entries:
    """Compare everything that is cached now. There must be no changes meanwhile."""
    found = Entries()
    stored = await _stored(scene, stoker)
    names = await _names(scene, stoker) | _plain(stored, stoker)
    found.in_redis = len(stored)
    found.unknown = sorted(stored - {name.entry for name in names.values()})
    cached = [key for key, name in names.items() if name.entry in stored]
    for start in range(0, len(cached), BATCH):
        await _compare(stoker, cached[start : start + BATCH], names, found)
    return found


async def _names(scene: Scene, stoker: Stoker) -> dict[EntryKey, EntryNames]:
    """Every entry that can be cached: those that were read or warmed, and those without parameters."""
    keys: dict[EntryKey, None] = {}
    for read in scene.driver.asked.values():
        view = stoker.domain.view(read.view)
        keys[stoker.domain.key(read.view, read.scope_id, read.params)] = None
        for other in stoker.domain.views:
            plain = other.default_key(stoker.domain.scope(view.scope, read.scope_id))
            if other.scope == view.scope and plain is not None:
                keys[plain] = None
    store = stoker.cache.store
    keys.update(dict.fromkeys(key for key, _ in await recently_read(store.client, store.keys, DAY_S, MOST)))
    for plan in stoker.domain.warm_plans:
        if plan.target == ACTIVE:
            async with stoker.session() as session:
                keys.update(dict.fromkeys(await plan.entries(session, None)))
    return {key: store.keys.entry(key, stoker.domain.view(key.view).layout) for key in keys}


def _plain(stored: set[str], stoker: Stoker) -> dict[EntryKey, EntryNames]:
    """Entries without parameters: their keys identify them."""
    found, pattern = {}, _pattern(stoker)
    for name in stored:
        matched = pattern.fullmatch(name)
        if matched is not None:
            key = EntryKey(matched["view"], Scope(matched["kind"], matched["id"]))
            found[key] = stoker.cache.store.keys.entry(key, stoker.domain.view(key.view).layout)
    return {key: names for key, names in found.items() if names.entry in stored}


async def _stored(scene: Scene, stoker: Stoker) -> set[str]:
    """Names of entries in Redis."""
    pattern, held = _pattern(stoker), await stored_names(scene.servers.urls.cache)
    return {name for name in held if pattern.fullmatch(name)}


def _pattern(stoker: Stoker) -> re.Pattern[str]:
    root = re.escape(stoker.cache.store.keys.root)
    views = "|".join(view.name for view in stoker.domain.views)
    scope = r"\{(?P<kind>[^:}]+):(?P<id>[^}]+)\}"
    return re.compile(rf"{root}:{scope}:(?P<view>{views})(\.[0-9][a-z0-9_.]*)?(:[0-9a-f]{{32}})?")


async def _compare(
    stoker: Stoker, keys: Sequence[EntryKey], names: dict[EntryKey, EntryNames], found: Entries
) -> None:
    held = await stoker.cache.store.lookup.fetch(tuple(names[key] for key in keys))
    valid = {key: one.content for key, one in zip(keys, held, strict=True) if one.miss is None}
    found.outdated += len(keys) - len(valid)
    for view in stoker.domain.views:
        mine = [key for key in valid if key.view == view.name]
        if not mine:
            continue
        current = (await stoker.cache.filler.loads.load(view, mine)).bodies
        for key in mine:
            content = valid[key]
            found.compared += 1
            if content is None or not same(content.body, current.get(key)):
                found.wrong.append(f"the cached value of {key} differs from SQL")


def same(cached: bytes, current: bytes | None) -> bool:
    """Whether two bodies hold the same value."""
    return current is not None and (cached == current or from_json(cached) == from_json(current))
