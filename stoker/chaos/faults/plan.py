"""The seeded plan of faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from stoker.chaos.faults.kind import Kind


@dataclass(frozen=True)
class Planned:
    """One fault of a run; `pick` chooses among several targets."""

    at_s: float
    kind: Kind
    lasts_s: float
    pick: int


def plan(kinds: Sequence[Kind], rng: Random, seconds: float, pace_s: float) -> Iterator[Planned]:
    """Faults for a run: every kind once before any comes again.

    Those of the queue come one after the other, at a random place of each round: in between there is time for
    work that an outage of the queue delays, such as the rescue of a killed worker's jobs.
    """
    at_s, round_ = 0.5, list[Kind]()
    while kinds:
        if not round_:
            others = [kind for kind in kinds if kind.target != "queue"]
            queue = [kind for kind in kinds if kind.target == "queue"]
            round_ = rng.sample(others, len(others))
            place = rng.randint(0, len(round_))
            round_[place:place] = rng.sample(queue, len(queue))
        kind = round_.pop(0)
        lasts_s = min(rng.uniform(kind.shortest_s, kind.longest_s), max(0.5, seconds - at_s))
        yield Planned(at_s, kind, lasts_s, rng.randrange(1000))
        at_s += min(rng.expovariate(1 / pace_s), 3 * pace_s)
        if at_s > seconds - 1:
            return
