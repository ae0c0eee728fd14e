"""Entries kept in this process: a hit moves stamps instead of bodies, and within a term nothing at all.

An entry is served after its stamps were read in the same request (RACES 20), or within a term after they were
(RACES 47; docs/decisions/0025 has the protocol). Dropping an entry costs a longer reply, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from stoker.cache.envelope import Envelope
from stoker.cache.keys import EntryNames
from stoker.cache.reading import Content, Found
from stoker.cache.term import SERVED, now_s

OVERHEAD_BYTES = 1024
"""Memory of an entry besides its body, roughly."""
DECODED_FACTOR = 4
"""Memory of a decoded body per byte of its JSON: every entry is counted as if it were decoded."""


class Served(NamedTuple):
    """What an entry may be answered with, and until when, on the clock of terms.

    `asked_s`: before the question to which Redis said that the stamps hold.
    """

    found: Found
    asked_s: float
    until_s: float


class Near:
    """A kept entry: the envelope that its stamps are compared with, and its content."""

    __slots__ = ("content", "envelope", "served")

    def __init__(self, envelope: Envelope, content: Content) -> None:
        self.envelope = envelope
        self.content = content
        self.served: Served | None = None


class NearCache:
    """The most recently read entries within a budget of bytes; 0 keeps none.

    `now_s` is the clock of terms. Without `use_term` no entry is served unless Redis was asked.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[str, Near] = OrderedDict()
        self.bytes = 0
        self.now_s = now_s
        self._term_s = 0.0
        self._sure_until_s = -inf
        self._since_s = -inf

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

    # Terms

    def use_term(self, term_s: float, sure_until_s: float) -> None:
        """Serve entries for this term, if they are found valid by questions sent before `sure_until_s`."""
        self._term_s, self._sure_until_s = term_s * SERVED, sure_until_s

    def end_terms(self) -> None:
        """Serve nothing that was found valid before now."""
        self._since_s = self.now_s()

    def validated(self, near: Near, found: Found, asked_s: float) -> None:
        """Redis said that the entry's stamps hold. `asked_s`: the clock before it was asked."""
        if asked_s < self._sure_until_s:
            until_s = asked_s + min(self._term_s, near.envelope.left_s(found.server.now_us()))
            near.served = Served(found, asked_s, until_s)

    def in_term(self, names: Sequence[EntryNames]) -> list[Found] | None:
        """An entry and its access entry, as found within a term; None if Redis must be asked.

        An entry that was validated after the right to it may be newer than a removal (RACES 23): then both
        are asked for.
        """
        found: list[Found] = []
        kept, since_s = self._kept, self._since_s
        least_s, ends_s = -inf, inf
        for one in names:
            near = kept.get(one.entry)
            if near is None or (served := near.served) is None:
                return None
            entry, asked_s, until_s = served
            if asked_s < least_s or asked_s <= since_s:
                return None
            least_s = asked_s
            ends_s = min(ends_s, until_s)
            found.append(entry)
        # The clock is read after the entries are fixed, so that a pause in between counts.
        return found if self.now_s() < ends_s else None


def _size(near: Near) -> int:
    envelope = near.envelope
    return len(envelope.packed) + envelope.body_bytes * (1 + DECODED_FACTOR) + OVERHEAD_BYTES
