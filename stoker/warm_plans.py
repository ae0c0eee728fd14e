"""What to warm, and in which order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from stoker.cache.declared import check_async, name_of
from stoker.cache.view import EntryKey, Scope, ScopeKind

ACTIVE = "active"
"""The warm target that means everybody who is active now."""
Entries = Callable[[AsyncSession, Scope | None], Awaitable[Sequence[EntryKey]]]


@dataclass(frozen=True, init=False)
class WarmPlan:
    """What to warm for one kind of target, most urgent first.

    `target` is `active` (everybody active now), or a scope kind or its name. `async entries(session, scope)`
    gets a session that reads, and the scope (None for `active`); it gives a sequence of EntryKeys, such as
    `BOARD.key(TENANT.scope(7))`, in the order in which they should be built.
    """

    target: str
    entries: Entries

    def __init__(self, target: str | ScopeKind, entries: Entries) -> None:
        vars(self).update(target=name_of(target), entries=entries)  # the class is frozen
        check_async(entries, f"`entries` of the warm plan for {self.target!r}", "session", "scope")
