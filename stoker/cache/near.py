"""Entries kept in this process: a hit moves stamps instead of bodies, and within a term nothing at all.

An entry is served after its stamps were read in the same request (RACES 20), or within a term after they were
(RACES 47; docs/decisions/0025 has the protocol). Dropping an entry costs a longer reply, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import inf
from typing import NamedTuple, Protocol

from stoker.cache.envelope import Envelope
from stoker.cache.reading import Content, Found, Reading
from stoker.cache.term import SERVED, now_s

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


class Served(NamedTuple):
    """What a request may be answered with until then, on the clock of terms.

    `found`: its entry and its access entry, of one reply. `readings`: what readers were answered from it.
    """

    found: Sequence[Found]
    readings: dict[object, Reading]
    until_s: float


class Serves(Protocol):
    """A request that is made again and again: a Plan."""

    served: Served | None


class Terms:
    """Which requests a process answers without asking Redis. Without `use`: none.

    `now_s` is the clock of terms.
    """

    def __init__(self) -> None:
        self.now_s = now_s
        self._term_s = 0.0
        self._sure_until_s = -inf
        self._since_s = -inf
        self._granted: set[Serves] = set()

    def use(self, term_s: float, sure_until_s: float) -> None:
        """Serve for this term what is found valid by questions sent before `sure_until_s`."""
        self._term_s, self._sure_until_s = term_s * SERVED, sure_until_s
        self._forget(self.now_s())

    def end(self) -> None:
        """Serve nothing that was found valid before now."""
        self._since_s = self.now_s()
        self._forget(inf)

    def grant(self, plan: Serves, found: Sequence[Found], asked_s: float) -> None:
        """Redis has told what it holds for a request. `asked_s`: the clock before it was asked."""
        plan.served = None  # what is known now counts, whatever an earlier reply said
        left_s = self._term_s
        for one in found:
            if one.miss is not None or one.envelope is None:
                return
            left_s = min(left_s, one.envelope.left_s(one.server.now_us()))
        if asked_s < self._sure_until_s:
            plan.served = Served(found, {}, asked_s + left_s)
            self._granted.add(plan)
            if asked_s <= self._since_s:  # compared last: another thread may call `end` at any point
                plan.served = None

    def of(self, plan: Serves) -> Served | None:
        """What the request may be answered with now; None: ask Redis."""
        served = plan.served
        # The clock is read after what is served is fixed, so that a pause in between counts.
        return served if served is not None and self.now_s() < served.until_s else None

    def _forget(self, until_s: float) -> None:
        """Let go of what is over by then: it would be kept for as long as the plan."""
        for plan in list(self._granted):
            if plan.served is None or plan.served.until_s <= until_s:
                plan.served = None
                self._granted.discard(plan)


def _size(near: Near) -> int:
    envelope = near.envelope
    return len(envelope.packed) + envelope.body_bytes * (1 + DECODED_FACTOR) + OVERHEAD_BYTES
