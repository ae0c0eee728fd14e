"""Histograms of durations: one table of bounds for everything that Stoker measures.

Counts are kept by the name of their bucket, in Redis and in Postgres; nothing here talks to either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

BOUNDS_S = (
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    900,
)
"""Upper bounds of the buckets in seconds. The names of buckets are stored: only ever add."""
BUCKETS = tuple(f"{bound:g}" for bound in (*BOUNDS_S, inf))
"""The names; the last bucket has no bound."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A histogram: the count of each bucket (not cumulative), by its bound in seconds; the last has none.

    `sums_s` are the durations in each bucket together: a quantile of them is one that occurred.
    """

    buckets: Mapping[float, int]
    sums_s: Mapping[float, float]

    @property
    def sum_s(self) -> float:
        """All durations together."""
        return sum(self.sums_s.values())

    @classmethod
    def of(cls, counted: Callable[[str], int]) -> Observed:
        """The histogram of counters that are named after the buckets: `0.1`, and `us_0.1` for the sum."""
        bounds = tuple(zip((*BOUNDS_S, inf), BUCKETS, strict=True))
        return cls(
            {bound: counted(bucket) for bound, bucket in bounds},
            {bound: counted(f"us_{bucket}") / 1_000_000 for bound, bucket in bounds},
        )


def bucket(seconds: float) -> str:
    """The name of the bucket of a duration."""
    return BUCKETS[bisect_left(BOUNDS_S, seconds)]
