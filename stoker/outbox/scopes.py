"""How invalidations are stored in an event's row, readable by the releases before and after this one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import from_json

from stoker.cache.catalog import Catalog
from stoker.cache.view import Scope
from stoker.rules import Invalidation


def encode(invalidations: Iterable[Invalidation], catalog: Catalog) -> list[list[Any]]:
    """Invalidations as stored: [kind, id, [view, ...], hard, every view].

    "Every view" also names the views that this release knows, so that an older worker unlinks them all (RACES
    30).
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
    """The invalidations of a row, of this release or of another; raises ValueError or TypeError.

    A newer release may only add to the end of a stored scope (RACES 30).
    """
    return [_decode(one, catalog) for one in _list(scopes)]


def _decode(stored: Any, catalog: Catalog) -> Invalidation:  # noqa: ANN401 - as above
    kind, scope_id, views, hard, every, *_ = _list(stored)
    names = [kind, *_list(views)]
    if not all(isinstance(one, str) for one in names) or not isinstance(scope_id, str | int):
        raise TypeError(f"not a scope and its views: {stored!r:.100}")
    known = catalog.view_names_by_scope.get(kind, frozenset()) if every else frozenset()
    return Invalidation(Scope(kind, str(scope_id)), known.union(views), bool(hard))


def _list(stored: Any) -> Sequence[Any]:  # noqa: ANN401 - as above
    if not isinstance(stored, list):  # unpacking would accept a text or an object
        raise TypeError(f"not a list: {stored!r:.100}")
    return stored
