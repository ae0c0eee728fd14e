"""What the predictor looks at: some twenty features of an entry, each cut into a few bins.

A bin has a weight of its own, so a feature's effect need not be a straight line, and an explanation of a
prediction is a list of bins and their weights.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf, log2, nextafter
from operator import add

from stoker.prediction.activity import FAST_S, SLOW_S, WEEK, WEEKS, Activities, Activity

SAME_HOUR = sum(1 << 24 * day for day in range(1, 8))
"""Bits of `Activity.hours`: the hour of planning, on each of the last seven days."""
HOURS_BESIDE = sum(1 << 24 * day - 1 | 1 << 24 * day + 1 for day in range(1, 8))
THIS_HOUR_OF_WEEK = sum(1 << WEEK * week for week in range(1, WEEKS + 1))
BESIDE_IN_WEEK = sum(1 << WEEK * week - 1 | 1 << WEEK * week + 1 for week in range(1, WEEKS + 1))
THIS_HOUR_OF_DAY = sum(1 << 24 * day for day in range(1, 7 * WEEKS + 1))
LAST_DAY = (1 << 25) - 1
DAYS = [(1 << 24) - 1 << 24 * day + 1 for day in range(7)]
"""Of each of the last seven days the bits of its hours."""
PATTERNS_KEPT = 2048
"""Patterns of hours whose bins are kept: some 0.7 MB."""
SIZES = {
    "always": 1,
    "time since the last read": 16,
    "reads of these hours": 14,
    "reads of these weeks": 16,
    "read at this time yesterday": 4,
    "days of the week with a read in this hour": 8,
    "days of the week with a read an hour off": 10,
    "hours of the last day with a read": 11,
    "days of the week with a read": 8,
    "weeks with a read in this hour of the week": 5,
    "weeks with a read an hour off": 9,
    "days of four weeks with a read in this hour": 12,
    "its reader's last read": 10,
    "time since the first read": 16,
    "hour of the day": 24,
    "hour of the week": 56,
    "traffic expected now": 8,
    "traffic of the last hour": 8,
    "time since the last change": 10,
    "changes of these hours": 8,
    "view": 16,
    "time until it expires": 8,
    "time since the last read, by traffic expected": 16 * 8,
    "days with a read in this hour, by traffic expected": 4 * 8,
    "time since the last read, by traffic of the last hour": 4 * 8,
    "time since the last read, by time until it expires": 16 * 8,
    "reads of these hours, by time since the last read": 14 * 16,
    "reads of these hours, by reads of these weeks": 14 * 16,
    "reads of these hours, by hour of the day": 14 * 24,
}
"""How many bins each feature has."""
NAMES = tuple(SIZES)
BINS = sum(SIZES.values())
_STARTS = tuple(sum(tuple(SIZES.values())[:at]) for at in range(len(SIZES)))


def _bins_from(least: float, count: int, per_octave: float = 1.0) -> Callable[[float], int]:
    """Bins on a logarithmic scale: 0 up to `least`, then `per_octave` for each doubling; the last has no end.

    They begin at the first float whose logarithm says so: weights that are kept in Postgres belong to them.
    """

    def bin_of(value: float) -> int:
        return 1 + int(log2(value / least) * per_octave)

    begins = [nextafter(least, inf)]
    for number in range(2, count):
        begin = least * 2 ** ((number - 1) / per_octave)
        while bin_of(begin) >= number:
            begin = nextafter(begin, 0)
        while bin_of(begin) < number:
            begin = nextafter(begin, inf)
        begins.append(begin)
    return partial(bisect_right, begins)


_recency = _bins_from(0.05, 16, 1.25)
_lately = _bins_from(0.008, 14, 1.2)
_weeks = _bins_from(0.016, 16, 1.2)
_life = _bins_from(60, 8)
_traffic = _bins_from(0.06, 8)
_since = _bins_from(0.05, 9)
_age = _bins_from(0.1, 16)
_changes = _bins_from(0.05, 8)


@dataclass(frozen=True)
class Moment:
    """What is the same for all entries at a time of planning."""

    now: float
    hour: int
    """Hours since 1970, of the installation's clock."""
    hour_of_day: int
    hour_of_week: int
    """In steps of three hours."""
    expected: int
    """Bin of the traffic in this hour of the last week and of yesterday, against the week's mean."""
    lately: int
    """Bin of the traffic in the last hour, against the week's mean."""


@dataclass(frozen=True)
class Kind:
    """What an entry's view says of it: a number for the view, and how long it is served once built."""

    view: int = 0
    life_s: float = 3600.0


def moment(activities: Activities, now: float) -> Moment:
    """The features of a time; `now` is in seconds since 1970."""
    hour = activities.hour(now)
    by_hour = activities.reads_by_hour
    mean = sum(by_hour.get(hour - back, 0) for back in range(1, WEEK + 1)) / WEEK + 0.1
    expected = (by_hour.get(hour - 24, 0) + 2 * by_hour.get(hour - WEEK, 0)) / 3
    lately = by_hour.get(hour - 1, 0)
    return Moment(now, hour, hour % 24, hour % WEEK // 3, _traffic(expected / mean), _traffic(lately / mean))


def bins(found: Activity, at: Moment, reader_last: float | None, kind: Kind) -> tuple[int, ...]:
    """The bin of each feature, in the order of NAMES; numbers from 0 to BINS - 1."""
    age = at.now - found.last
    of_hours = _of_hours(found.hours(at.hour))
    same_hour = of_hours[1]
    recency = _recency(age / 3600 + 0.05)
    lately = _lately(found.fast * 2 ** (-age / FAST_S))
    weeks = _weeks(found.slow * 2 ** (-age / SLOW_S))
    life = _life(kind.life_s)
    numbers = (
        0,
        recency,
        lately,
        weeks,
        *of_hours,
        9 if reader_last is None else _since((at.now - reader_last) / 3600 + 0.05),
        _age((at.now - found.first) / 3600 + 0.1),
        at.hour_of_day,
        at.hour_of_week,
        at.expected,
        at.lately,
        _since((at.now - found.changed) / 3600 + 0.05) if found.changed else 9,
        _changes(found.changes * 2 ** ((found.changed - at.now) / FAST_S)) if found.changed else 0,
        kind.view % 16,
        life,
        recency * 8 + at.expected,
        min(3, same_hour) * 8 + at.expected,
        min(3, recency // 4) * 8 + at.lately,
        recency * 8 + life,
        lately * 16 + recency,
        lately * 16 + weeks,
        lately * 24 + at.hour_of_day,
    )
    return tuple(map(add, numbers, _STARTS))


@lru_cache(PATTERNS_KEPT)
def _of_hours(hours: int) -> tuple[int, ...]:
    """The bins that follow from the hours with a read alone: many entries have the same few hours."""
    return (
        (hours >> 24 & 1) * 2 + ((hours >> 23 | hours >> 25) & 1),
        min(7, (hours & SAME_HOUR).bit_count()),
        min(9, (hours & HOURS_BESIDE).bit_count()),
        min(10, (hours & LAST_DAY).bit_count()),
        len([1 for day in DAYS if hours & day]),
        (hours & THIS_HOUR_OF_WEEK).bit_count(),
        (hours & BESIDE_IN_WEEK).bit_count(),
        min(11, (hours & THIS_HOUR_OF_DAY).bit_count()),
    )


def first_bins() -> tuple[int, ...]:
    """The first bin of each feature, in the order of NAMES."""
    return _STARTS
