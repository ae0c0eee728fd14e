"""The seeded plan of when which fault strikes.

Faults of the queue and of workers come one after the other, each when the one before it should be over: in
between, claims of killed workers expire and are rescued. All others strike at any time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from stoker.chaos.faults.kind import Kind

ONE_BY_ONE = frozenset({"queue", "worker"})
"""Targets whose faults put off rescues."""
FIRST_S = 0.5
CLAIM_S = 6.0
"""How long a claim lasts unless it is renewed: calm before a fault that leaves claims behind, too."""


@dataclass(frozen=True)
class Planned:
    """One fault of a run; `pick` chooses among several targets."""

    at_s: float
    kind: Kind
    lasts_s: float
    pick: int


def plan(kinds: Sequence[Kind], rng: Random, seconds: float, pace_s: float) -> Iterator[Planned]:
    """Faults for a run, in their order. Of both sorts, each kind comes once before any comes again."""
    anytime = [kind for kind in kinds if kind.target not in ONE_BY_ONE]
    apart = [kind for kind in kinds if kind.target in ONE_BY_ONE]
    # Both streams together are to strike as often as one of all kinds would.
    seldom_s = pace_s * len(kinds) / max(1, len(anytime))
    streams = (
        _stream(anytime, Random(rng.random()), seconds, seldom_s, lambda _: 0),  # noqa: S311 - can be repeated
        _stream(apart, Random(rng.random()), seconds, pace_s, lambda one: one.lasts_s + one.kind.calm_s),  # noqa: S311
    )
    return heapq.merge(*streams, key=lambda one: one.at_s)


def _stream(
    kinds: Sequence[Kind], rng: Random, seconds: float, pace_s: float, taken_s: Callable[[Planned], float]
) -> Iterator[Planned]:
    """`taken_s`: for how long no other fault of the stream may strike."""
    at_s, round_ = FIRST_S, list[Kind]()
    while kinds:
        if not round_:
            round_ = sorted(rng.sample(kinds, len(kinds)), key=lambda kind: not kind.calm_s)
        kind = round_.pop(0)
        lasts_s = min(rng.uniform(kind.shortest_s, kind.longest_s), max(0.5, seconds - at_s))
        one = Planned(at_s, kind, lasts_s, rng.randrange(1000))
        yield one
        at_s += taken_s(one) + min(rng.expovariate(1 / pace_s), 3 * pace_s)
        if not round_ and any(kind.calm_s for kind in kinds):
            at_s += CLAIM_S
        if at_s > seconds - 1:
            return
