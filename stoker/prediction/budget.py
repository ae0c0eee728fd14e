"""What warming may spend: seconds of loading, and the probability from which an entry is worth them.

An entry's benefit is its probability times the time that its reader does not wait, and its cost is the same
time. So benefit by cost is the probability, and one threshold for all entries spends a budget best.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import floor, log2
from operator import attrgetter
from typing import Any, NamedTuple

HELD_BACK_S = 7 * 86400.0
"""What was not spent at quiet times may be spent for this long."""
PAID_OUT_S = 86400.0
"""What was not needed even at the lowest point of this time is spent evenly over as much time."""
MEMORY_S = 7 * 86400.0
"""Half-life of the memory of what each threshold would have cost."""
PER_OCTAVE = 8
LOWEST = 1e-6


class Candidate(NamedTuple):
    """An entry that could be warmed: how much speaks for it, and what it costs in seconds of loading."""

    score: float
    entry: Hashable
    cost_s: float


_score, _cost_s = attrgetter("score"), attrgetter("cost_s")


class FixedBudget:
    """Spends the same at every planning, on the highest scores. What is left over is lost."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left_s = 0.0

    def choose(self, candidates: Iterable[Candidate], step_s: float) -> list[Candidate]:
        """What to warm for the next `step_s` seconds."""
        return self.choose_of(sorted(candidates, key=_score, reverse=True), step_s)

    def choose_of(self, offered: Sequence[Candidate], step_s: float) -> list[Candidate]:
        """The same, of candidates whose highest scores come first: several budgets may choose of the same."""
        chosen, left = _afford(_named(offered), self._rate * step_s + self._left_s)
        cheapest = min(map(_cost_s, offered), default=0.0)
        self._left_s = min(left, cheapest)  # else a budget below one entry would never warm any
        return chosen

    def state(self) -> Any:  # noqa: ANN401 - JSON
        """What `restore` needs."""
        return self._left_s

    def restore(self, state: Any) -> None:  # noqa: ANN401 - JSON
        """The inverse of `state`."""
        self._left_s = float(state)


class ThresholdBudget:
    """Spends where the score is above one threshold, which it adapts so that the mean is `rate`.

    Where many scores lie close together, the threshold cannot tell them apart: then the part of them that the
    budget pays is taken, the highest first and equal ones in the order of their names.

    It never has spent more than `rate` times the time since it began.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._saved_s = 0.0
        self._left: deque[float] = deque()  # what was saved after each planning of the last PAID_OUT_S
        self._costs: dict[int, float] = {}
        self._known = 0.0  # how much of the memory's weight has been filled, up to 1
        self._owed_s = 0.0  # part of an entry at the threshold that was not taken yet
        self.threshold = 0.0
        """Scores from here on are warmed, those within an eighth of an octave only in part."""

    def choose(self, candidates: Iterable[Candidate], step_s: float) -> list[Candidate]:
        """What to warm for the next `step_s` seconds."""
        return self.choose_of(by_level(candidates), step_s)

    def choose_of(self, offered: Mapping[int, Sequence[Candidate]], step_s: float) -> list[Candidate]:
        """The same, of candidates by level: several budgets may choose of the same."""
        given = self._rate * step_s
        self._saved_s = min(self._saved_s + given, self._rate * HELD_BACK_S)
        self._remember(offered, step_s)
        level, part = self._marginal(given + self._surplus_s(step_s) * step_s / PAID_OUT_S)
        self.threshold = 0.0 if level is None else float(2 ** (level / PER_OCTAVE))
        above = sorted((one for one in offered if level is None or one > level), reverse=True)
        chosen, self._saved_s = _afford(
            (one for each in above for one in _by_score(offered[each])), self._saved_s
        )
        if len(chosen) == sum(len(offered[one]) for one in above):
            chosen += self._part_of(offered.get(level, []) if level is not None else [], part)
        self._left.append(self._saved_s)
        return chosen

    def spent(self, planned_s: float, really_s: float) -> None:
        """Correct the account: what was planned to take `planned_s` took `really_s` seconds."""
        self._saved_s += planned_s - really_s

    def empty(self) -> None:
        """Give up what was saved."""
        self._saved_s = 0.0
        self._left.clear()

    def state(self) -> Any:  # noqa: ANN401 - JSON
        """What `restore` needs."""
        return [
            self._saved_s,
            [*self._left],
            [*self._costs.items()],
            self._known,
            self._owed_s,
            self.threshold,
        ]

    def restore(self, state: Any) -> None:  # noqa: ANN401 - JSON
        """The inverse of `state`."""
        self._saved_s, left, costs, self._known, self._owed_s, self.threshold = state
        self._left, self._costs = deque(left), dict(map(tuple, costs))

    def _surplus_s(self, step_s: float) -> float:
        """What was left over at the lowest point of the last day: quiet hours save for busy ones."""
        while len(self._left) * step_s > PAID_OUT_S:
            self._left.popleft()
        return max(0.0, min(self._left, default=0.0))

    def _part_of(self, tied: Sequence[Candidate], part: float) -> list[Candidate]:
        """The part of the candidates at the threshold that the budget pays; the rest of an entry is owed."""
        self._owed_s += part * sum(one.cost_s for one in tied)
        chosen, left = _afford(_by_score(tied), min(self._owed_s, self._saved_s))
        spent_s = sum(one.cost_s for one in chosen)
        self._saved_s -= spent_s
        self._owed_s = min(left, max((one.cost_s for one in tied), default=self._owed_s))
        return chosen

    def _remember(self, offered: Mapping[int, Sequence[Candidate]], step_s: float) -> None:
        kept = 2 ** (-step_s / MEMORY_S)
        self._known = self._known * kept + (1 - kept)
        self._costs = {level: cost * kept for level, cost in self._costs.items()}
        for level, ones in offered.items():
            total = self._costs.get(level, 0.0)
            for one in ones:
                total += one.cost_s * (1 - kept)
            self._costs[level] = total

    def _marginal(self, wanted_s: float) -> tuple[int | None, float]:
        """The level in which the mean cost of a planning passes the budget, and which part of it is paid.

        None where all of them are paid.
        """
        wanted = wanted_s * self._known
        total = 0.0
        for level in sorted(self._costs, reverse=True):
            cost = self._costs[level]
            if total + cost > wanted:
                return level, (wanted - total) / cost
            total += cost
        return None, 0.0


Budget = FixedBudget | ThresholdBudget


def _level(score: float) -> int:
    return floor(log2(max(score, LOWEST)) * PER_OCTAVE)


def by_level(candidates: Iterable[Candidate]) -> dict[int, list[Candidate]]:
    """Candidates whose scores lie within an eighth of an octave."""
    found: dict[int, list[Candidate]] = {}
    for one in candidates:
        found.setdefault(_level(one.score), []).append(one)
    return found


def _by_score(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """The highest scores first, equal ones in the order of their names."""
    return _named(sorted(candidates, key=_score, reverse=True))


def _named(by_score: Iterable[Candidate]) -> Iterator[Candidate]:
    """Equal scores in the order of their names, which are only made where needed."""
    for _, equal in groupby(by_score, key=_score):
        yield from sorted(equal, key=lambda one: str(one.entry))


def _afford(sorted_: Iterable[Candidate], budget_s: float) -> tuple[list[Candidate], float]:
    """The first candidates that the budget pays, and what is left of it."""
    chosen = []
    for one in sorted_:
        if one.cost_s > budget_s:
            break
        budget_s -= one.cost_s
        chosen.append(one)
    return chosen, budget_s
