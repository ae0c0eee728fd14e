"""Names of the series that are kept, and their samples.

A series is `subject:which:what`: `lane:warm:ready`, `view:summary:hits`, `changes::unsettled`,
`server:cache:evicted`. Gauges merge
by maximum, counters by sum; waits and reads are counted by the bucket whose upper bound (seconds) ends the
name, and their seconds are added up beside the count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stoker.histogram import BUCKETS

WAIT, WAITED = "wait:", "waited:"
"""Begin the names of a lane's waits and of their seconds; the bucket follows."""
READ, TOOK = "read:", "took:"
"""Begin the names of a view's reads and of their seconds; the bucket follows."""
ERRORS = "errors"
"""The counter of a view's reads that failed."""
MISS = "miss_"
"""Begins the names of counters of misses; the cause follows."""
NOT_GROWING = ":started"
"""Ends the names of marks that are times, not counters."""
GAUGES = frozenset(
    {
        "ready",
        "deferred",
        "running",
        "parked",
        "dead",
        "oldest_s",
        "unsettled",
        "failing",
        "used_bytes",
        "down",
    }
)


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


def quantile(row: Mapping[str, float], counted: str, summed: str, share: float) -> float | None:
    """The duration in seconds that a share of the counted ones did not exceed; None without any.

    It is the mean of those in its bucket, so it never lies beyond any duration that occurred. `counted` and
    `summed` begin the names of the buckets' counts and of their seconds.
    """
    buckets = [(row.get(f"{counted}{name}", 0), row.get(f"{summed}{name}", 0)) for name in BUCKETS]
    total = sum(count for count, _ in buckets)
    if total <= 0:
        return None
    below = 0.0
    for count, seconds in buckets:
        below += count
        if count > 0 and below >= total * share:
            return seconds / count
    return None


def grown(before: Mapping[str, float], now: Mapping[str, float]) -> Iterable[Sample]:
    """The growth of counters since they were marked; one that fell was reset, an unmarked one is left out."""
    for series, value in now.items():
        known = before.get(series)
        if known is None or series.endswith(NOT_GROWING):
            continue
        growth = value - known if value >= known else value
        if growth:
            yield Sample(series, growth)
