"""How invalidations are stored in an event's row, readable by the releases before and after this one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from jobs.cache.catalog import Catalog
from jobs.cache.view import Scope
from jobs.domain import Invalidation


def encode(invalidations: Iterable[Invalidation], catalog: Catalog) -> list[list[Any]]:
    """Invalidations as stored: [kind, id, [view, ...], hard, every view].

    «Every view» also names those that this release knows, so that an older worker unlinks them all
    (RACES 30).
    """
    return [
        [
            one.scope.kind,
            one.scope.id,
            sorted(one.views or catalog.view_names_by_scope.get(one.scope.kind, frozenset())),
            int(one.hard),
            int(not one.views),
        ]
        for one in invalidations
    ]


def read(scopes: str | bytes, catalog: Catalog) -> list[Invalidation]:
    """`decode` of JSON text; raises ValueError or TypeError."""
    return decode(from_json(scopes), catalog)


def decode(scopes: Any, catalog: Catalog) -> list[Invalidation]:  # noqa: ANN401 - JSON of any release
    """The invalidations of a row, of this release or of another; raises ValueError or TypeError."""
    found = []
    for kind, scope_id, views, hard, every in scopes:
        names = frozenset(views)
        if every:
            names |= catalog.view_names_by_scope.get(kind, frozenset())
        found.append(Invalidation(Scope(str(kind), str(scope_id)), names, bool(hard)))
    return found
