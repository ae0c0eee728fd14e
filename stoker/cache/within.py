"""Access from a parent: an entry that belongs to a parent is read by whoever may read the parent's.

A view declares `Access.within(parent)`; its loader says of each entry which parent it belongs to; the entry
remembers it (stoker/cache/envelope.py), and a read names the parent that it asks under. Touches no server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoker.cache.declared import check_name
from stoker.errors import DeclarationError

PARENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""What ids of scopes are made of; see ScopeKind.scope."""


@dataclass(frozen=True, slots=True)
class AccessWithin:
    """Readers named by the access view of the parent that the entry belongs to; see `Access.within`."""

    parent: str
    """The name of the parent's scope kind."""

    def __post_init__(self) -> None:
        check_name(self.parent, "Access.within: scope kind")

    def __str__(self) -> str:
        return f"within {self.parent}"


@dataclass(frozen=True, slots=True)
class Within:
    """What the loader of a view with `Access.within` returns for a key: `Within(row.tenant_id, value)`."""

    parent_id: object
    """The id of the parent that the entry belongs to now. None: it has none, so nobody may read it."""
    value: Any
    """What JSON can hold, or its JSON as bytes."""


def parent_name(kind: str, parent_id: object) -> bytes:
    """A parent as entries remember it."""
    return f"{kind}:{parent_id}".encode()


def split_parents(
    view: str, parent: str | None, answer: Mapping[Any, Any]
) -> tuple[dict[Any, Any], dict[Any, bytes]]:
    """The values and the parents of what a loader answered; raises DeclarationError.

    `parent`: the parent's scope kind, or None for a view whose entries belong to none.
    """
    values, parents = {}, {}
    for key, one in answer.items():
        if parent is None and isinstance(one, Within):
            raise DeclarationError(
                f"the loader of view {view} returned a Within, but its access is not within a parent: "
                "return the value alone, or declare access=Access.within(...)"
            )
        if parent is None or one is None:
            values[key] = one
            continue
        if not isinstance(one, Within):
            raise DeclarationError(
                f"the loader of view {view} returned a {type(one).__name__} for {key}: return "
                f"Within(parent_id, value) with the id of the {parent} that it belongs to"
            )
        if one.parent_id is None:
            continue
        _check_id(view, one.parent_id)
        values[key], parents[key] = one.value, parent_name(parent, one.parent_id)
    return values, parents


def _check_id(view: str, parent_id: object) -> None:
    if isinstance(parent_id, bool | float) or not PARENT_ID.fullmatch(str(parent_id)):
        raise DeclarationError(
            f"the loader of view {view} returned {parent_id!r:.60} as the id of a parent: return an int, or "
            "a str of 1 to 64 of A-Z a-z 0-9 . _ -"
        )
