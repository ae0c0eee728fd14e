"""Entries kept in this process: a hit moves stamps instead of bodies, and within a term nothing at all.

An entry is served after its stamps were read in the same request (RACES 20), or within a term after they were
(RACES 47; `term.py`). Dropping an entry costs a longer reply, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from stoker.cache.envelope import Envelope
from stoker.cache.reading import Content

OVERHEAD_BYTES = 1024
"""Memory of an entry besides its body, roughly."""
DECODED_FACTOR = 4
"""Memory of a decoded body per byte of its JSON: every entry is counted as if it were decoded."""


class Near(NamedTuple):
    """A kept entry: the envelope that its stamps are compared with, and its content."""

    envelope: Envelope
    content: Content


class NearCache:
    """The most recently read entries within a budget of bytes; 0 keeps none."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[str, Near] = OrderedDict()
        self.bytes = 0

    def get(self, entry: str) -> Near | None:
        """The kept entry of that name, not yet validated."""
        near = self._kept.get(entry)
        if near is not None:
            self._kept.move_to_end(entry)
        return near

    def peek(self, entry: str) -> Near | None:
        """As `get`, for another thread than the loop's: it changes nothing."""
        return self._kept.get(entry)

    def put(self, entry: str, near: Near) -> None:
        """Keep an entry that was valid a moment ago."""
        size = _size(near)
        if size > self._budget_bytes // 8:
            return  # one entry must not push out everything else
        self.drop(entry)
        self._kept[entry] = near
        self.bytes += size
        while self.bytes > self._budget_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= _size(oldest)

    def drop(self, entry: str) -> None:
        """Forget an entry."""
        near = self._kept.pop(entry, None)
        if near is not None:
            self.bytes -= _size(near)


def _size(near: Near) -> int:
    envelope = near.envelope
    return len(envelope.packed) + envelope.body_bytes * (1 + DECODED_FACTOR) + OVERHEAD_BYTES
