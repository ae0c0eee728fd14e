"""Prediction while an application runs: reads and changes come in, a choice of what to warm comes out.

Touches no server and no clock. Entries are the names that `write_key` gives, as texts; everything is kept
within bounds, and `snapshot` stores and restores it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import NamedTuple

from stoker.prediction.activity import FAST_S
from stoker.prediction.budget import Budget, Candidate, ThresholdBudget
from stoker.prediction.contest import COUNTS, DEFAULT, NONE, PREDICTOR, Contender, Contest
from stoker.prediction.features import NAMES, SIZES, Kind, first_bins
from stoker.prediction.predictor import FORGOTTEN_S, Predictor

LEAST = 0.04
UNKNOWN_COST_S = 0.02
"""What building is taken to cost before the first plan, which knows better."""
LIKE_NEW_S = 86400.0
"""The default plan's idea of an active entry: it was read in the last day."""


@dataclass
class Counted:
    """What warming by prediction has done since the beginning."""

    planned_s: float = 0.0
    """Seconds of loading that the budget has allowed."""
    spent_s: float = 0.0
    wasted_s: float = 0.0
    """Of these, for entries that nobody read before they expired or changed."""
    warmed: int = 0
    used: int = 0
    """Warmed entries that were read in time: each is a miss that was avoided."""


class Weight(NamedTuple):
    """One feature of an explanation."""

    feature: str
    place: int
    """Which of its `places` bins it is in, from 0: of times and counts, from the smallest."""
    places: int
    weight: float


class Explained(NamedTuple):
    """Why an entry is warmed or not."""

    probability: float
    """Corrected by the calibration."""
    uncorrected: float
    """What the weights add up to."""
    weights: Sequence[Weight]
    lately: float
    """Reads of these hours, decayed: what decides where the counts are in force."""
    reads: float
    """Reads of the last weeks, decayed."""
    last_read: float | None
    """Seconds since 1970; None: no read is known."""


@dataclass
class _Warmed:
    until: float
    cost_s: float


@dataclass
class Live:
    """The predictor, its contest, and the account of what was really warmed."""

    kind_of: Callable[[Hashable], Kind]
    rate: float
    """Seconds of loading a second."""
    zone: tzinfo = UTC
    least: float = LEAST
    """The lowest probability that is worth a build, whatever the budget has left."""
    seed: int = 0
    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        self.predictor = Predictor(self.kind_of, self.zone, seed=self.seed)
        self.contest = Contest(self.rate, self.least)
        self.budget = ThresholdBudget(self.rate)
        self.real = Contender(self.budget)
        self.unread: dict[Hashable, _Warmed] = {}
        self.now = 0.0
        self._in_force = DEFAULT
        self._costs: Callable[[Hashable], float] = lambda _: UNKNOWN_COST_S

    def read(self, at: float, reader: Hashable, entry: Hashable) -> None:
        """A reader has read an entry. Times that go back count as the last one."""
        self.now = now = max(self.now, at)
        if not self.predictor.read(now, reader, entry):
            return
        life_s = self.kind_of(entry).life_s
        cost_s = self._costs(entry)
        self.contest.read(now, entry, life_s, cost_s)
        self.real.read(now, entry, life_s, cost_s)
        warmed = self.unread.pop(entry, None)
        if warmed is not None:
            self._ended(warmed, read=now < warmed.until)

    def change(self, at: float, entry: Hashable) -> None:
        """An entry was invalidated."""
        self.now = now = max(self.now, at)
        self.predictor.change(now, entry)
        self.contest.change(entry)
        self.real.change(entry)
        if (warmed := self.unread.pop(entry, None)) is not None:
            self._ended(warmed, read=False)

    def plan(
        self,
        now: float,
        step_s: float,
        may: Sequence[Hashable],
        costs: Callable[[Hashable], float],
    ) -> list[Candidate]:
        """What to warm now, of the entries that may be warmed (the default plan's order), dearest wish first.

        Nothing while the default plan is in force.
        """
        self.now = now = max(self.now, now)
        self._costs = costs
        self._expire(now)
        self.real.forget(now)
        allowed = set(may)
        probable = self.predictor.predict(now, may, step_s)
        scores: dict[str, Mapping[Hashable, float]] = {
            NONE: {},
            DEFAULT: self._by_default(now, may),
            COUNTS: {entry: count for entry, count in self._counts(now) if entry in allowed},
            PREDICTOR: {
                entry: one for entry, one in probable.items() if one >= self.least and entry in allowed
            },
        }
        self.contest.plan(now, step_s, scores, costs, self._life)
        in_force = self.contest.judgement.in_force
        self.counted.planned_s += self.rate * step_s
        if in_force != self._in_force:
            self._in_force = in_force
            self._begin_with(self.contest.contenders[in_force].budget)
        if in_force == DEFAULT:
            return []
        return self.real.plan(now, step_s, scores[in_force], costs)

    def built(self, now: float, built: Iterable[Candidate], left: Iterable[Candidate], took_s: float) -> None:
        """What became of a choice: entries that were built, those that were left, and what loading took.

        What was left was there already, is built by somebody else, or does not exist: it costs nothing.
        """
        stored, others = list(built), list(left)
        planned_s = sum(one.cost_s for one in (*stored, *others))
        self.budget.spent(planned_s, took_s)
        self.counted.spent_s += took_s
        self.counted.warmed += len(stored)
        each_s = took_s / len(stored) if stored else 0.0
        for one in stored:
            if (unread := self.unread.pop(one.entry, None)) is not None:  # it would soon have expired
                self._ended(unread, read=False)
            until = now + self._life(one.entry)
            self.real.until[one.entry] = until
            self.unread[one.entry] = _Warmed(until, each_s)
        for one in others:
            # Not asked for again in the next minutes, whatever it is.
            self.real.until[one.entry] = now + min(self._life(one.entry), 300.0)

    def forget_cache(self) -> None:
        """The cache may be another one, or empty: nothing is known to be in it."""
        self.real.until.clear()

    def waits(self, entry: Hashable, until: float, cost_s: float) -> None:
        """An entry was warmed and not read yet; where a state is restored."""
        self.unread[entry] = _Warmed(until, cost_s)

    def goes_on(self) -> None:
        """A restored state goes on with what was in force."""
        self._in_force = self.contest.judgement.in_force

    def explain(self, now: float, entry: Hashable) -> Explained:
        """The features of an entry, what each weighs, and the probability that they give."""
        bins = self.predictor.bins_of(now, entry)
        weights = self.predictor.regression.weights
        known = self.predictor.activities.get(entry)
        uncorrected = self.predictor.regression.probability(bins)
        return Explained(
            probability=self.predictor.calibration.curve()(uncorrected),
            uncorrected=uncorrected,
            weights=[
                Weight(name, one - first, SIZES[name], weights[one])
                for name, one, first in zip(NAMES, bins, first_bins(), strict=True)
            ],
            lately=known.fast * 2 ** ((known.last - now) / FAST_S) if known else 0.0,
            reads=known.slow if known else 0.0,
            last_read=known.last if known else None,
        )

    def _begin_with(self, settled: Budget | None) -> None:
        """Begin with the threshold that has settled in the contest, and with nothing saved."""
        if isinstance(settled, ThresholdBudget):
            self.budget.restore(settled.state())
            self.budget.empty()

    def _life(self, entry: Hashable) -> float:
        return self.kind_of(entry).life_s

    def _by_default(self, now: float, may: Sequence[Hashable]) -> dict[Hashable, float]:
        """What was read in the last day, the latest first; then what the plan names, in its order."""
        activities = self.predictor.activities
        scores: dict[Hashable, float] = {}
        for rank, entry in enumerate(may):
            found = activities.get(entry)
            read_at = found.last if found else 0.0
            scores[entry] = read_at if read_at >= now - LIKE_NEW_S else -float(rank)
        return scores

    def _counts(self, now: float) -> Iterable[tuple[Hashable, float]]:
        for entry, found in self.predictor.activities.since(now - FORGOTTEN_S):
            yield entry, found.fast * 2 ** ((found.last - now) / FAST_S)

    def _expire(self, now: float) -> None:
        for entry in [entry for entry, one in self.unread.items() if one.until <= now]:
            self._ended(self.unread.pop(entry), read=False)

    def _ended(self, warmed: _Warmed, *, read: bool) -> None:
        if read:
            self.counted.used += 1
        else:
            self.counted.wasted_s += warmed.cost_s
