"""Names of the series that are kept, and their samples.

A series is `subject:which:what`: `lane:warm:ready`, `view:summary:hits`, `changes::unsettled`. Gauges merge
by maximum, counters by sum; waits are counted by the bucket whose upper bound (seconds) ends the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stoker.histogram import BOUNDS_S, BUCKETS

WAIT = "wait:"
"""Begins the names of a lane's waits; the bucket follows."""
MISS = "miss_"
"""Begins the names of counters of misses; the cause follows."""
GAUGES = frozenset({"ready", "deferred", "running", "parked", "dead", "oldest_s", "unsettled", "failing"})


class Sample(NamedTuple):
    """A gauge's value, or what a counter grew by."""

    series: str
    value: float

    @property
    def gauge(self) -> bool:
        """Whether it merges by maximum."""
        return self.series.rpartition(":")[2] in GAUGES


def name(subject: str, which: str, what: str) -> str:
    """The name of a series."""
    return f"{subject}:{which}:{what}"


def parts(series: str) -> tuple[str, str, str]:
    """Subject, which and what of a name."""
    subject, which, what = series.split(":", 2)
    return subject, which, what


def quantile(buckets: Mapping[str, float], share: float) -> float | None:
    """The wait in seconds that a share of the counted waits did not exceed; None without waits.

    Interpolated inside its bucket, as Prometheus does it; the open bucket counts as its lower bound.
    """
    total = sum(buckets.values())
    if not total:
        return None
    wanted, below, lower = total * share, 0.0, 0.0
    for bound, bucket in zip(BOUNDS_S, BUCKETS, strict=False):
        here = buckets.get(f"{WAIT}{bucket}", 0)
        if here and below + here >= wanted:
            return lower + (bound - lower) * (wanted - below) / here
        below, lower = below + here, float(bound)
    return lower


def grown(before: Mapping[str, float], now: Mapping[str, float]) -> Iterable[Sample]:
    """The growth of counters since they were marked; one that fell was reset, an unmarked one is left out."""
    for series, value in now.items():
        known = before.get(series)
        if known is None:
            continue
        growth = value - known if value >= known else value
        if growth:
            yield Sample(series, growth)
