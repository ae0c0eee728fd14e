"""Which way of choosing may warm: each is replayed beside the others on the reads as they come.

Every contender has a cache of its own that exists only here, and the same budget. So the predictor is judged
before it warms anything, and goes on being judged while it does. Not all of them spend the whole budget: a
second of warming counts as `least` seconds for which a reader waits, which is the lowest probability at which
the installation warms.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from math import sqrt
from typing import NamedTuple

from stoker.prediction.activity import ENTRIES_KEPT
from stoker.prediction.budget import Budget, Candidate, FixedBudget, ThresholdBudget

NONE, DEFAULT, COUNTS, PREDICTOR = "nothing", "default plan", "decayed counts", "predictor"
JUDGED_S = 86400.0
"""The time over which contenders are compared."""
USUAL_S = 7 * 86400.0
"""The time whose mean is a usual day."""
FEWEST_MISSES = 50
"""Misses without warming in that time, below which nothing is concluded."""
QUIET = 0.25
"""The same as a share of a usual day's: who is best on a weekend need not be on a Monday."""
MARGIN = 0.98
"""The predictor must lose at most this share of what another loses. Who is in force is replaced only where
the difference is larger than chance makes it."""
COSTLIER = 1.5
"""It may spend so many times the day's budget, or what the others spent where that was more: a budget is met
on average, and what was saved on quiet days is spent on busy ones."""

Costs = Callable[[Hashable], float]
Lives = Callable[[Hashable], float]


@dataclass(slots=True)
class Hour:
    """What happened in one hour."""

    misses: int = 0
    missed_s: float = 0.0
    """Seconds of loading that its readers waited for."""
    spent_s: float = 0.0

    def loss(self, least: float) -> float:
        """The seconds that readers waited for, and `least` of those that warming spent."""
        return self.missed_s + least * self.spent_s

    def chance_s(self) -> float:
        """How far `missed_s` varies by chance: the misses are counts, whose deviation is their root."""
        return self.missed_s / sqrt(self.misses) if self.misses else 0.0


class Judgement(NamedTuple):
    """Which contender is in force, and why."""

    in_force: str
    why: str


class Contender:
    """The cache as it would be under one way of choosing. Times are seconds since 1970."""

    def __init__(self, budget: Budget | None) -> None:
        self.budget = budget
        self.until: dict[Hashable, float] = {}
        """Until when entries would be served."""
        self.hours: dict[int, Hour] = {}

    def read(self, now: float, entry: Hashable, life_s: float, cost_s: float) -> bool:
        """A reader comes; whether the cache would have had the entry. What it had not is built then."""
        if self.until.get(entry, 0.0) > now:
            return True
        self.until[entry] = now + life_s
        hour = self._at(now)
        hour.misses += 1
        hour.missed_s += cost_s
        return False

    def change(self, entry: Hashable) -> None:
        """The entry was invalidated."""
        self.until.pop(entry, None)

    def plan(
        self, now: float, step_s: float, scores: Mapping[Hashable, float], costs: Costs
    ) -> list[Candidate]:
        """What it chooses for the next `step_s` seconds, of entries that would not last so long."""
        if self.budget is None:
            return []
        until, ends = self.until, now + step_s
        offered = [
            Candidate(score, entry, costs(entry))
            for entry, score in scores.items()
            if until.get(entry, 0.0) < ends
        ]
        return self.budget.choose(offered, step_s)

    def warm(self, now: float, chosen: list[Candidate], lives: Lives) -> None:
        """Warm them, at the cost that was expected."""
        for one in chosen:
            self.until[one.entry] = now + lives(one.entry)
        self._at(now).spent_s += sum(one.cost_s for one in chosen)

    def last_day(self, now: float) -> Hour:
        """What it did in the time over which contenders are compared."""
        return self.lately(now, JUDGED_S)

    def lately(self, now: float, time_s: float) -> Hour:
        """What it did in the last seconds, up to USUAL_S."""
        since = int((now - time_s) // 3600)
        days = [one for hour, one in self.hours.items() if hour >= since]
        return Hour(
            sum(one.misses for one in days),
            sum(one.missed_s for one in days),
            sum(one.spent_s for one in days),
        )

    def _at(self, now: float) -> Hour:
        return self.hours.setdefault(int(now // 3600), Hour())

    def forget(self, now: float) -> None:
        """Drop hours that are older than the week, and entries that are too many."""
        since = int((now - USUAL_S) // 3600)
        self.hours = {hour: one for hour, one in self.hours.items() if hour >= since}
        if len(self.until) > ENTRIES_KEPT:
            self.until = {entry: until for entry, until in self.until.items() if until > now}
        if len(self.until) > ENTRIES_KEPT:
            for entry in nsmallest(ENTRIES_KEPT // 10, self.until, key=self.until.__getitem__):
                del self.until[entry]


class Contest:
    """The contenders, and which of them is in force."""

    def __init__(self, rate: float, least: float = 0.0) -> None:
        """Give each `rate` seconds of loading a second, which count as `least` seconds of waiting each."""
        self.contenders = {
            NONE: Contender(None),
            DEFAULT: Contender(FixedBudget(rate)),
            COUNTS: Contender(ThresholdBudget(rate)),
            PREDICTOR: Contender(ThresholdBudget(rate)),
        }
        self._rate = rate
        self._least = least
        self.begun = 0.0
        self.judgement = Judgement(DEFAULT, "nothing has been read yet")
        self._judged_hour = 0

    def read(self, now: float, entry: Hashable, life_s: float, cost_s: float) -> None:
        """A reader comes."""
        self.begun = self.begun or now
        for one in self.contenders.values():
            one.read(now, entry, life_s, cost_s)

    def change(self, entry: Hashable) -> None:
        """An entry was invalidated."""
        for one in self.contenders.values():
            one.change(entry)

    def plan(
        self,
        now: float,
        step_s: float,
        scores: Mapping[str, Mapping[Hashable, float]],
        costs: Costs,
        lives: Lives,
    ) -> None:
        """Each contender warms, in its own cache, by its own scores; each hour they are judged."""
        for name, one in self.contenders.items():
            one.forget(now)
            one.warm(now, one.plan(now, step_s, scores.get(name, {}), costs), lives)
        if int(now // 3600) != self._judged_hour or self.judgement.in_force == DEFAULT:
            self._judged_hour = int(now // 3600)
            self.judgement = self._judge(now)

    def _judge(self, now: float) -> Judgement:
        days = {name: one.last_day(now) for name, one in self.contenders.items()}
        if not self.begun or now - self.begun < JUDGED_S:
            hours = (now - self.begun) / 3600 if self.begun else 0
            return Judgement(DEFAULT, f"it is judged after a day of reads; {hours:.0f} of 24 hours are over")
        without = days[NONE].misses
        usual = self.contenders[NONE].lately(now, USUAL_S).misses / min(now - self.begun, USUAL_S) * JUDGED_S
        if without < max(FEWEST_MISSES, QUIET * usual):
            said = f"{without} misses in the last day are too few to compare: it stays as it was"
            return Judgement(self.judgement.in_force, said)
        return self._compare(days)

    def _compare(self, days: Mapping[str, Hour]) -> Judgement:
        default, counts, ours = (days[name] for name in (DEFAULT, COUNTS, PREDICTOR))
        said = (
            f"in the last day readers waited {days[NONE].missed_s:.3g} s without warming, "
            f"by the default plan {_did(default)}, by decayed counts {_did(counts)}, "
            f"by the predictor {_did(ours)}; a second of warming counts as {self._least:g} s of waiting"
        )
        lost = {name: days[name].loss(self._least) for name in (DEFAULT, COUNTS, PREDICTOR)}
        lost[PREDICTOR] /= MARGIN
        if ours.spent_s > COSTLIER * max(counts.spent_s, default.spent_s, self._rate * JUDGED_S):
            del lost[PREDICTOR]
        best = min(lost, key=lost.__getitem__)
        holder = self.judgement.in_force
        if holder != best and holder in lost and lost[holder] - lost[best] < days[holder].chance_s():
            return Judgement(holder, f"{said}; that {best} lost less may be chance")
        return Judgement(best, said)


def _did(day: Hour) -> str:
    return f"{day.missed_s:.3g} s ({day.misses} misses) after {day.spent_s:.3g} s of warming"
