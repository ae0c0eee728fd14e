"""Replays a trace under several ways of warming at once, and counts what each would have spent and avoided.

All methods see the same reads and the same predictor; each has a cache of its own. A method plans from what
was read before: nothing of the trace behind the time of planning has been noted by then. The first part of
the trace only teaches; the last part is scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from math import floor
from operator import attrgetter

from stoker.prediction.budget import Candidate, FixedBudget, ThresholdBudget, by_level
from stoker.prediction.features import Kind
from stoker.prediction.methods import Method, Past
from stoker.prediction.predictor import Predictor
from stoker.prediction.trace import Trace

LEARNT_S = 90 * 86400.0
"""The time before the scored part from which the predictor learns. Activity is noted from the beginning."""
SETTLING_S = 7 * 86400.0
"""The time before the scored part in which thresholds settle; what was saved then is given up."""
LEAST = 0.25
"""From this probability on, about half or more of what is warmed is read (docs/decisions/0024)."""
CHEAPEST_S = 1e-6
"""What building takes at least, also where the trace says 0."""
QUIET_S = 14 * 86400.0
"""A gap in the trace of more than this is skipped: nothing known is left to be warmed."""


CUTS = 4
"""Into how many parts `looks_ahead` cuts the scored reads."""
Plan = tuple[float, dict[Hashable, float]]
"""When, and the scores of entries."""


@dataclass(frozen=True)
class Rules:
    """How a trace is replayed."""

    ttl_s: float = 3600.0
    """How long a built entry is served."""
    every_s: float = 1800.0
    """The time between two plannings."""
    build_s: float = 0.02
    """What building an entry takes where the trace does not say."""
    scored: float = 0.5
    """The part of the reads, at the end, that is scored."""
    zone: tzinfo = UTC
    """The time zone of the hours of the day."""
    seed: int = 0
    least: float = LEAST
    """The lowest probability at which the careful predictor warms; 0: without that method."""


@dataclass
class Tally:
    """What a method did in the scored part. Days are days since 1970, hours are hours of the day."""

    warmed: int = 0
    used: int = 0
    spent_s: float = 0.0
    wasted_s: float = 0.0
    missed_s: float = 0.0
    """Seconds of loading that readers waited for."""
    misses_by_day: Counter[int] = field(default_factory=Counter)
    misses_by_hour: Counter[int] = field(default_factory=Counter)
    misses_by_view: Counter[str] = field(default_factory=Counter)
    plans: list[Plan] = field(default_factory=list)
    """Only kept if the replay was asked to."""

    @property
    def misses(self) -> int:
        """Reads that found nothing."""
        return self.misses_by_day.total()


class _World:
    """The cache under one method and one budget."""

    def __init__(self, method: Method, rate: float) -> None:
        self.method = method
        self.rate = rate
        self.tally = Tally()
        self._until: dict[Hashable, float] = {}
        self._unused: dict[Hashable, float] = {}  # warmed, not read since -> what it took
        self._budget = (ThresholdBudget if method.threshold else FixedBudget)(rate)

    def begin(self) -> None:
        """The scored part begins."""
        self.tally = Tally()
        self._unused.clear()
        if isinstance(self._budget, ThresholdBudget):
            self._budget.empty()

    def plan(self, now: float, rules: Rules, offered: Mapping[int, Sequence[Candidate]]) -> None:
        """Warm for the time until the next planning; candidates by level, or all at 0 without a threshold."""
        ends = now + rules.every_s
        until = self._until = {entry: end for entry, end in self._until.items() if end > now}
        lasting = {entry for entry, end in until.items() if end >= ends}
        if lasting:
            left = {
                level: [one for one in ones if one.entry not in lasting] for level, ones in offered.items()
            }
            offered = {level: ones for level, ones in left.items() if ones}
        if isinstance(self._budget, ThresholdBudget):
            chosen = self._budget.choose_of(offered, rules.every_s)
        else:
            chosen = self._budget.choose_of(offered.get(0, ()), rules.every_s)
        for _, entry, cost_s in chosen:
            self.tally.wasted_s += self._unused.get(entry, 0.0)
            self._unused[entry] = cost_s
            until[entry] = now + rules.ttl_s
        self.tally.warmed += len(chosen)
        self.tally.spent_s += sum(one.cost_s for one in chosen)

    def read(self, now: float, ttl_s: float, entry: int) -> bool:
        """A reader comes; whether the cache had it. What it had not is built then."""
        if self._until.get(entry, 0.0) <= now:
            self._until[entry] = now + ttl_s
            self.tally.wasted_s += self._unused.pop(entry, 0.0)
            return False
        if entry in self._unused:
            del self._unused[entry]
            self.tally.used += 1
        return True

    def change(self, entry: int) -> None:
        """The entry was invalidated."""
        self._until.pop(entry, None)
        self.tally.wasted_s += self._unused.pop(entry, 0.0)

    def end(self) -> None:
        """What was warmed and never read is wasted."""
        self.tally.wasted_s += sum(self._unused.values())


class Replay:
    """One pass over a trace."""

    def __init__(self, trace: Trace, rules: Rules, *, keep_plans: bool = False) -> None:
        self._trace = trace
        self._rules = rules
        self._keep_plans = keep_plans
        self._views = [view_of(name) for name in trace.entry_names]
        self._costs: dict[Hashable, float] = {}
        kind = Kind(0, rules.ttl_s)
        self.predictor = Predictor(lambda _: kind, rules.zone, seed=rules.seed)
        self.scored_from = trace.times[int(len(trace) * (1 - rules.scored))]
        self.scored_reads = 0
        self._changes = trace.changed_entries()
        self._changed = 0

    def run(
        self, methods: Sequence[Method], rates: Sequence[float], report: Callable[[int], None]
    ) -> dict[tuple[str, float], Tally]:
        """What each method did with each budget (seconds of loading a second); by name and budget."""
        worlds = [_World(one, rate) for one in methods for rate in rates]
        times, every_s = self._trace.times, self._rules.every_s
        now, at, begun = floor(times[0] / every_s) * every_s, 0, False
        while at < len(times):
            if not begun and now >= self.scored_from:
                begun = True
                for world in worlds:
                    world.begin()
            if now >= self.scored_from - LEARNT_S:
                self._plan(now, methods, worlds)
            end = now + every_s
            while at < len(times) and times[at] < end:
                self._change_until(times[at], worlds)
                self._read(at, worlds, begun=begun)
                at += 1
            self._change_until(end, worlds)
            report(at)
            now = end
            if at < len(times) and times[at] > now + QUIET_S:
                now = floor(times[at] / every_s) * every_s
        for world in worlds:
            world.end()
        return {(world.method.name, world.rate): world.tally for world in worlds}

    def _plan(self, now: float, methods: Sequence[Method], worlds: Sequence[_World]) -> None:
        past = Past(now, self.predictor.activities, self.predictor.predict(now, step_s=self._rules.every_s))
        if now < self.scored_from - SETTLING_S:
            return
        costs, build_s = self._costs, self._rules.build_s
        for method in methods:
            scores = method.scores(past)
            candidates = [
                Candidate(score, entry, costs.get(entry, build_s)) for entry, score in scores.items()
            ]
            if method.threshold:
                offered = by_level(candidates)
            else:
                candidates.sort(reverse=True, key=attrgetter("score"))
                offered = {0: candidates}
            for world in worlds:
                if world.method is method:
                    world.plan(now, self._rules, offered)  # made once for all budgets
                    if self._keep_plans:
                        world.tally.plans.append((now, dict(scores)))

    def _change_until(self, time: float, worlds: Sequence[_World]) -> None:
        """Apply the changes before a time."""
        while self._changed < len(self._changes) and self._changes[self._changed][0] < time:
            when, entry = self._changes[self._changed]
            self._changed += 1
            self.predictor.change(when, entry)
            for world in worlds:
                world.change(entry)

    def _read(self, at: int, worlds: Sequence[_World], *, begun: bool) -> None:
        trace, rules = self._trace, self._rules
        now, entry = trace.times[at], trace.entries[at]
        hits = [world.read(now, rules.ttl_s, entry) for world in worlds]
        if begun:
            self.scored_reads += 1
            took_s = trace.build_s[at] if trace.build_s[at] >= 0 else self._costs.get(entry, rules.build_s)
            self._count(now, entry, took_s, worlds, hits)
        if trace.build_s[at] >= 0:
            self._costs[entry] = max(trace.build_s[at], CHEAPEST_S)
        self.predictor.read(now, trace.readers[at], entry)

    def _count(
        self, now: float, entry: int, took_s: float, worlds: Sequence[_World], hits: Sequence[bool]
    ) -> None:
        day = int(now // 86400)
        hour = datetime.fromtimestamp(now, self._rules.zone).hour
        for world, hit in zip(worlds, hits, strict=True):
            if not hit:
                world.tally.missed_s += took_s
                world.tally.misses_by_day[day] += 1
                world.tally.misses_by_hour[hour] += 1
                world.tally.misses_by_view[self._views[entry]] += 1


def view_of(entry: str) -> str:
    """The view of an entry written as `scope:id/view?params`; a dash if it is written otherwise."""
    return entry.partition("?")[0].rpartition("/")[2] if "/" in entry else "-"


def looks_ahead(method: Callable[[Trace], Method], trace: Trace, rules: Rules) -> bool:
    """Whether a method's scores change when the reads after them are taken out of the trace.

    `method` makes the method for a trace, so that it can be made for the shorter one as well.
    """
    first = int(len(trace) * (1 - rules.scored))
    cuts = [trace.times[first + (len(trace) - first) * part // CUTS] for part in range(1, CUTS)]
    whole = _plans(method(trace), trace, rules, trace.times[first])
    for cut in cuts:
        part = trace.upto(cut)
        found = _plans(method(part), part, rules, trace.times[first])
        if found != whole[: len(found)]:
            return True
    return False


def _plans(method: Method, trace: Trace, rules: Rules, scored_from: float) -> list[Plan]:
    replay = Replay(trace, rules, keep_plans=True)
    replay.scored_from = scored_from
    (tally,) = replay.run([method], [1.0], lambda _: None).values()
    return tally.plans
