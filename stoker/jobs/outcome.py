"""How a handler or the building of an entry can end."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Everything that a handler or a build can end with."""

    DONE = "done"
    """The work is done."""
    LEFT = "left"
    """Nothing to do: prediction warms instead."""
    STORED = "stored"
    """Built and kept."""
    FRESH = "fresh"
    """Nothing to do: the entry is valid and young."""
    SUPERSEDED = "superseded"
    """Built, but overtaken by a change: not kept, its own caller has the value."""
    GONE = "gone"
    """SQL has no such row (any more): nothing stored."""
    ALREADY_BUILDING = "already_building"
    """Another process holds the lease under the same stamps."""
    NOT_KEPT = "not_kept"
    """Built, but not stored: the cache is away, or its memory is full."""
