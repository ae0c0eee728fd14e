"""What warming may spend: seconds of loading, and the probability from which an entry is worth them.

An entry's benefit is its probability times the time that its reader does not wait, and its cost is the same
time. So benefit by cost is the probability, and one threshold for all entries spends a budget best.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import floor, log2
from typing import NamedTuple

HELD_BACK_S = 7 * 86400.0
"""What was not spent at quiet times may be spent for this long."""
PAID_OUT_S = 86400.0
"""What was saved is spent evenly over this time."""
MEMORY_S = 7 * 86400.0
"""Half-life of the memory of what each threshold would have cost."""
PER_OCTAVE = 8
LOWEST = 1e-6


class Candidate(NamedTuple):
    """An entry that could be warmed: how much speaks for it, and what it costs in seconds of loading."""

    score: float
    entry: Hashable
    cost_s: float


class FixedBudget:
    """Spends the same at every planning, on the highest scores. What is left over is lost."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left_s = 0.0

    def choose(self, candidates: Iterable[Candidate], step_s: float) -> list[Candidate]:
        """What to warm for the next `step_s` seconds."""
        offered = list(candidates)
        chosen, left = _afford(offered, self._rate * step_s + self._left_s)
        cheapest = min((one.cost_s for one in offered), default=0.0)
        self._left_s = min(left, cheapest)  # else a budget below one entry would never warm any
        return chosen


class ThresholdBudget:
    """Spends where the score is above one threshold, which it adapts so that the mean is `rate`.

    It never has spent more than `rate` times the time since it began.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._saved_s = 0.0
        self._costs: dict[int, float] = {}
        self._known = 0.0  # how much of the memory's weight has been filled, up to 1
        self.threshold = 0.0

    def choose(self, candidates: Iterable[Candidate], step_s: float) -> list[Candidate]:
        """What to warm for the next `step_s` seconds."""
        offered = list(candidates)
        given = self._rate * step_s
        self._saved_s = min(self._saved_s + given, self._rate * HELD_BACK_S)
        self._remember(offered, step_s)
        self.threshold = self._threshold(given + self._saved_s * step_s / PAID_OUT_S)
        chosen, self._saved_s = _afford(
            (one for one in offered if one.score >= self.threshold), self._saved_s
        )
        return chosen

    def empty(self) -> None:
        """Give up what was saved."""
        self._saved_s = 0.0

    def _remember(self, offered: Iterable[Candidate], step_s: float) -> None:
        kept = 2 ** (-step_s / MEMORY_S)
        self._known = self._known * kept + (1 - kept)
        self._costs = {level: cost * kept for level, cost in self._costs.items()}
        for one in offered:
            level = _level(one.score)
            self._costs[level] = self._costs.get(level, 0.0) + one.cost_s * (1 - kept)

    def _threshold(self, wanted_s: float) -> float:
        """The lowest threshold that on average costs no more than this at one planning."""
        levels = sorted(self._costs, reverse=True)
        total = 0.0
        for level in levels:
            total += self._costs[level]
            if total > wanted_s * self._known:
                return float(2 ** ((level + 1) / PER_OCTAVE))
        return 0.0


def _level(score: float) -> int:
    return floor(log2(max(score, LOWEST)) * PER_OCTAVE)


def _afford(candidates: Iterable[Candidate], budget_s: float) -> tuple[list[Candidate], float]:
    """The highest scores that the budget pays, and what is left of it."""
    chosen = []
    for one in sorted(candidates, key=lambda each: -each.score):
        if one.cost_s > budget_s:
            break
        budget_s -= one.cost_s
        chosen.append(one)
    return chosen, budget_s
