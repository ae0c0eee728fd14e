"""The result of replaying a trace: what each method avoided at the same budget, and how sure that is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from random import Random
from statistics import fmean

from pydantic import BaseModel

from stoker.prediction.methods import DEFAULT_PLAN, NONE, all_methods
from stoker.prediction.replay import CHEAPEST_S, QUIET_S, Replay, Rules, Tally
from stoker.prediction.trace import Trace

SHARES = (0.1, 0.25, 0.5)
"""Budgets, as shares of what it would take to keep everything warm that was read in the last 24 hours."""
RESAMPLED = 1000
"""Samples of the days from which an interval is taken."""
INTERVAL = (0.05, 0.95)
FEWEST_DAYS = 2
"""Days with a miss below which nothing is known of how days differ."""


class Score(BaseModel):
    """What one method did with one budget."""

    method: str
    avoided: int
    """Misses that it avoided."""
    share: float | None
    """The same as a share of the misses without warming; None if there are none."""
    low: float | None
    """The 5th and (`high`) the 95th percentile of `share` over resampled days; None if there is but one."""
    high: float | None
    against_default: float | None
    """Misses avoided for each one that the default plan avoids; None if that avoids none."""
    warmed: int
    used: float | None
    """The share of what was warmed that was read before it expired; None if nothing was warmed."""
    saved_s: float
    """Seconds of loading that readers did not wait for."""
    spent_s: float
    """Seconds of loading for warming."""
    wasted_s: float
    """The part of them whose entries nobody read."""
    by_view: dict[str, float]
    """`share` of each view."""
    by_hour: dict[int, float]
    """`share` of each hour of the day."""


class Budgeted(BaseModel):
    """All methods with one budget."""

    budget_s: float
    """Seconds of loading a minute."""
    scores: list[Score]


class Evaluation(BaseModel):
    """What a trace says of the methods."""

    reads: int
    changes: int
    entries: int
    readers: int
    begin: float
    """Of the trace, in seconds since 1970, as `end` and `scored_from`."""
    end: float
    scored_from: float
    scored_reads: int
    """0 if the trace ends before the first planning after `scored_from`: then nothing was measured."""
    misses: int
    """Misses of the scored reads without any warming."""
    ttl_s: float
    every_s: float
    build_s: float
    budgets: list[Budgeted]


def evaluate(
    trace: Trace,
    rules: Rules,
    budgets_s: Sequence[float] = (),
    report: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Replay a trace; budgets are in seconds of loading a minute, SHARES of what is needed by default."""
    rates = [one / 60 for one in budgets_s] or [share * needed(trace, rules) for share in SHARES]
    replay = Replay(trace, rules)
    tallies = replay.run(all_methods(trace, rules.ttl_s, rules.least), rates, report)
    by_rate = {rate: {name: tally for (name, one), tally in tallies.items() if one == rate} for rate in rates}
    return Evaluation(
        reads=len(trace),
        changes=len(trace.changes),
        entries=len(trace.entry_names),
        readers=len(trace.reader_names),
        begin=trace.times[0],
        end=trace.times[-1],
        scored_from=replay.scored_from,
        scored_reads=replay.scored_reads,
        misses=next(iter(by_rate.values()))[NONE].misses,
        ttl_s=rules.ttl_s,
        every_s=rules.every_s,
        build_s=rules.build_s,
        budgets=[
            Budgeted(
                budget_s=rate * 60,
                scores=_scores(found, rules.seed),
            )
            for rate, found in by_rate.items()
        ],
    )


def needed(trace: Trace, rules: Rules) -> float:
    """Seconds of loading a second that keep warm what was read in the last 24 hours, in the scored part.

    Gaps that the replay skips do not count: no budget is given for them.
    """
    begin = trace.times[int(len(trace) * (1 - rules.scored))]
    last: dict[int, float] = {}
    active_s = [0.0] * len(trace.entry_names)
    for time, entry in zip(trace.times, trace.entries, strict=True):
        since = max(last.get(entry, time - 86400) + 86400, time, begin)
        active_s[entry] += max(0.0, time + 86400 - since)
        last[entry] = time
    scored = trace.times[bisect_left(trace.times, begin) :]
    skipped = sum(after - before for before, after in pairwise(scored) if after - before > QUIET_S)
    length = max(scored[-1] - begin - skipped, rules.every_s)
    costs = _mean_build_s(trace)
    needed_s = sum(one * costs.get(entry, rules.build_s) for entry, one in enumerate(active_s))
    return needed_s / length / rules.ttl_s


def _mean_build_s(trace: Trace) -> dict[int, float]:
    """What building each entry takes, where the trace says it."""
    known: dict[int, list[float]] = {}
    for entry, build_s in zip(trace.entries, trace.build_s, strict=True):
        if build_s >= 0:
            known.setdefault(entry, []).append(max(build_s, CHEAPEST_S))
    return {entry: fmean(found) for entry, found in known.items()}


def _scores(found: dict[str, Tally], seed: int) -> list[Score]:
    intervals = _intervals(found, seed)
    return [_score(name, found, intervals[name]) for name in found]


def _score(name: str, found: dict[str, Tally], interval: tuple[float, float] | None) -> Score:
    none, tally, default = found[NONE], found[name], found[DEFAULT_PLAN]
    low, high = interval or (None, None)
    avoided, avoided_by_default = none.misses - tally.misses, none.misses - default.misses
    return Score(
        method=name,
        avoided=avoided,
        share=_share(none.misses, tally.misses) if none.misses else None,
        low=low,
        high=high,
        against_default=avoided / avoided_by_default if avoided_by_default > 0 else None,
        warmed=tally.warmed,
        used=tally.used / tally.warmed if tally.warmed else None,
        saved_s=none.missed_s - tally.missed_s,
        spent_s=tally.spent_s,
        wasted_s=tally.wasted_s,
        by_view={
            view: _share(n, tally.misses_by_view[view]) for view, n in sorted(none.misses_by_view.items())
        },
        by_hour={
            hour: _share(n, tally.misses_by_hour[hour]) for hour, n in sorted(none.misses_by_hour.items())
        },
    )


def _share(without: int, misses: int) -> float:
    return (without - misses) / without if without else 0.0


def _intervals(found: dict[str, Tally], seed: int) -> dict[str, tuple[float, float] | None]:
    """Percentiles of each method's avoided share over days drawn with replacement (a bootstrap by day)."""
    random = Random(seed)  # noqa: S311 - a sample, no secret
    days = sorted(found[NONE].misses_by_day)
    if len(days) < FEWEST_DAYS:
        return dict.fromkeys(found)
    drawn = [random.choices(range(len(days)), k=len(days)) for _ in range(RESAMPLED)]
    sums = {}
    for name, tally in found.items():
        misses = [tally.misses_by_day[day] for day in days].__getitem__
        sums[name] = [sum(map(misses, one)) for one in drawn]
    return {name: _percentiles(map(_share, sums[NONE], ours)) for name, ours in sums.items()}


def _percentiles(shares: Iterable[float]) -> tuple[float, float]:
    ordered = sorted(shares)
    low, high = (ordered[int(part * (RESAMPLED - 1))] for part in INTERVAL)
    return low, high
