"""Guards between releases that run together: what each must do for the other (row 30)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic_core import from_json
from sqlalchemy.ext.asyncio import AsyncConnection

import stoker.handlers.relay
from stoker import Domain, EntryKey, Invalidation, Scope
from stoker.cache.catalog import Catalog
from stoker.cache.keys import EntryNames, KeySpace
from stoker.handlers.relay import Folded, fold
from stoker.outbox.rows import Alike
from tests.races.guards.away import Patch, Removal, replaced


async def _known_kinds_only(connection: AsyncConnection, domain: Domain, claimed: Sequence[Alike]) -> Folded:
    folded = await fold(connection, domain, [one for one in claimed if one.kind in domain.rules_by_kind])
    return replace(folded, asked=claimed)


def _views_as_written(scopes: str, _catalog: Catalog) -> list[Invalidation]:
    """The views that the recording release had, not those of this one, are "every view"."""
    return [
        Invalidation(Scope(kind, scope_id), frozenset(views), bool(hard))
        for kind, scope_id, views, hard, _every in from_json(scopes)
    ]


def _versioned_stamps(patch: Patch) -> None:
    entry = KeySpace.entry

    def versioned(self: KeySpace, key: EntryKey, version: int = 1) -> EntryNames:
        names = entry(self, key, version)
        return names if version == 1 else names._replace(stamp=f"{names.stamp}.{version}")

    patch.setattr(KeySpace, "entry", versioned)


GUARDS: Mapping[str, Removal] = {
    "unknown kinds applied from their scopes": replaced(stoker.handlers.relay, "fold", _known_kinds_only),
    "every view meaning those of this release too": replaced(
        stoker.handlers.relay, "read", _views_as_written
    ),
    "stamps without a version": _versioned_stamps,
}
