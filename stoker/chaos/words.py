"""Many problems in few words."""

from __future__ import annotations

from collections.abc import Iterable


def first(problems: Iterable[str], most: int = 3) -> str:
    """The first few of many problems."""
    listed = list(problems)
    return "; ".join(listed[:most]) + (f"; and {len(listed) - most} more" if len(listed) > most else "")
