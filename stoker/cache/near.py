"""Entries kept in this process: a hit moves stamps instead of bodies, and within a term nothing at all.

An entry is served after its stamps were read in the same request (RACES 20), or within a term after they were
(RACES 47; docs/decisions/0025 has the protocol). Dropping an entry costs a longer reply, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from math import inf
from typing import Generic, NamedTuple, Protocol, TypeVar

from stoker.cache.envelope import Envelope
from stoker.cache.reading import Content, Found, Reading
from stoker.cache.term import SERVED, now_s

OVERHEAD_BYTES = 1024
"""Memory of an entry besides its body, roughly."""
DECODED_FACTOR = 4
"""Memory of a decoded body per byte of its JSON: every entry is counted as if it were decoded."""
RENEWED = 7
"""How many other requests a question asks for, so that their terms are renewed."""
CREDIT = 4
"""How often in a row a term is renewed in which nobody has read, after one in which somebody has."""
SOON = 0.1
"""A term is renewed in this last share of it, or after it."""


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
    `credit`: how often it may be renewed although nobody was.
    """

    found: Sequence[Found]
    readings: dict[object, Reading]
    until_s: float
    credit: int


class Serves(Protocol):
    """A request that is made again and again: a Plan."""

    served: Served | None


P = TypeVar("P", bound=Serves)


class Terms(Generic[P]):
    """Which requests a process answers without asking Redis. Without `use`: none.

    `now_s` is the clock of terms.
    """

    def __init__(self) -> None:
        self.now_s = now_s
        self._term_s = 0.0
        self._sure_until_s = -inf
        self._since_s = -inf
        self._granted: deque[tuple[P, Served]] = deque()
        """Roughly in the order in which they end."""

    def use(self, term_s: float, sure_until_s: float) -> None:
        """Serve for this term what is found valid by questions sent before `sure_until_s`."""
        self._term_s, self._sure_until_s = term_s * SERVED, sure_until_s
        self._forget(self.now_s())

    def end(self) -> None:
        """Serve nothing that was found valid before now."""
        self._since_s = self.now_s()
        self._forget(inf)

    def grant(self, plan: P, found: Sequence[Found], asked_s: float) -> None:
        """Redis has told what it holds for a request. `asked_s`: the clock before it was asked."""
        credit = _credit(plan.served)
        plan.served = None  # what is known now counts, whatever an earlier reply said
        left_s = self._term_s
        for one in found:
            if one.miss is not None or one.envelope is None:
                return
            left_s = min(left_s, one.envelope.left_s(one.server.now_us()))
        if asked_s < self._sure_until_s and left_s > 0:
            plan.served = served = Served(found, {}, asked_s + left_s, credit)
            self._granted.append((plan, served))
            if asked_s <= self._since_s:  # compared last: another thread may call `end` at any point
                plan.served = None

    def of(self, plan: P) -> Served | None:
        """What the request may be answered with now; None: ask Redis."""
        served = plan.served
        # The clock is read after what is served is fixed, so that a pause in between counts.
        if served is None or self.now_s() < served.until_s:
            return served
        plan.served = None
        return None

    def ending(self) -> list[P]:
        """A few requests that were made within their terms, which end soon: to be renewed with a question.

        For the event loop only.
        """
        now_s = self.now_s()
        soon_s = now_s + self._term_s * SOON
        ending: list[P] = []
        going_on = []
        while self._granted and len(ending) < RENEWED and self._granted[0][1].until_s < soon_s:
            plan, served = self._granted.popleft()
            if plan.served is not served:
                continue  # it was asked for since
            if served.until_s > now_s:
                going_on.append((plan, served))  # `end` must find it
            if served.readings or served.credit:
                ending.append(plan)
        self._granted.extend(going_on)
        return ending

    def _forget(self, until_s: float) -> None:
        """Let go of what is over by then: it would be kept for as long as the plan."""
        while self._granted and self._granted[0][1].until_s <= until_s:
            plan, served = self._granted.popleft()
            if plan.served is served:
                plan.served = None


def _credit(before: Served | None) -> int:
    if before is None:
        return 0
    return CREDIT if before.readings else max(0, before.credit - 1)


def _size(near: Near) -> int:
    envelope = near.envelope
    return len(envelope.packed) + envelope.body_bytes * (1 + DECODED_FACTOR) + OVERHEAD_BYTES
