"""What a reader asks for, and what the cache held when it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from stoker.cache.plan import Plan
from stoker.cache.reading import Miss
from stoker.cache.store import Found
from stoker.cache.view import EntryKey, View

Params = Mapping[str, Any] | BaseModel | None


class Asked(NamedTuple):
    """One of many entries to read."""

    view: str | View
    scope_id: object
    params: Params = None


class Look(NamedTuple):
    """What the cache held for an entry and for the access entry that guards it."""

    plan: Plan
    found: Found
    found_guard: Found | None = None
    cause: Miss | None = None
    """Why the entry had to be built meanwhile, if it had."""

    def missing(self) -> list[EntryKey]:
        """The entries that must be built."""
        missing = [self.plan.key] if self.found.miss is not None else []
        if self.plan.guard is not None and self.found_guard is not None and self.found_guard.miss is not None:
            missing.append(self.plan.guard)
        return missing
