"""Terms: what was found valid a moment ago is served without asking Redis (RACES 47).

docs/decisions/0025 has the protocol and why it holds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Generic, NamedTuple, Protocol, TypeVar

from stoker.cache.reading import Found, Reading

SERVED = 0.8
"""Share of a term for which a reader serves; whoever applies waits the whole. Clocks that are being adjusted
run up to 10 % fast or slow, and so may those of the two."""
SURE_S = 10.0
"""Seconds after a term was lowered until nobody begins to serve by the old one. A reader that has learned a
term uses it for the share SERVED of this time."""
LEARN_S = 2.0
"""Seconds between two times that a reader learns the term."""

RENEWED = 7
"""How many other requests a question asks for, so that their terms are renewed."""
CREDIT = 4
"""How often in a row a term is renewed in which nobody has read, after one in which somebody has."""
SOON = 0.1
"""A term is renewed in this last share of it, or after it."""

# CLOCK_BOOTTIME counts while the machine sleeps; CLOCK_MONOTONIC does not on Linux, but does elsewhere.
now_s: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""The clock of terms, in seconds. Only differences within one process mean anything."""


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
