"""What is remembered of each entry's reads: enough to predict the next one, within bounded memory.

Only reads are remembered, never warming: a predictor that learns from what its own warming caused would
confirm itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import nsmallest
from typing import Any

ENTRIES_KEPT = 20_000
"""Entries remembered. The tenth that was not read for the longest time is dropped when there are more."""
READERS_KEPT = 2_000
"""Readers whose last read is remembered, by the same rule."""
FAST_S = 2 * 3600.0
"""Half-life of the fast count of reads: this morning."""
SLOW_S = 7 * 86400.0
"""Half-life of the slow count: these weeks."""
ONE_VISIT_S = 60.0
"""Reads of an entry by the same reader within this time count once: a client that polls, or floods, has the
weight of one reader."""
WEEK = 7 * 24
HOURS = (1 << WEEK + 2) - 1


class Activity:
    """The reads of one entry. Times are seconds since 1970."""

    __slots__ = ("_counted", "_hour", "_hours", "fast", "first", "last", "reader", "slow")

    def __init__(self, now: float) -> None:
        self.first = now
        self.last = now
        self.reader: Hashable = None
        self.fast = 0.0
        """Reads, each counting half as much after FAST_S, as of `last`."""
        self.slow = 0.0
        """The same with SLOW_S."""
        self._hours = 0  # bit n: read in the hour n hours before `_hour`
        self._hour = int(now // 3600)
        self._counted = 0.0

    def read(self, now: float, reader: Hashable) -> None:
        """Note a read; `now` is never earlier than that of the last one."""
        age = now - self.last
        again = reader == self.reader and now - self._counted < ONE_VISIT_S
        if not again:
            self._counted = now
        self.fast = self.fast * 2 ** (-age / FAST_S) + (not again)
        self.slow = self.slow * 2 ** (-age / SLOW_S) + (not again)
        hour = int(now // 3600)
        self._hours = ((self._hours << (hour - self._hour)) & HOURS) | 1
        self._hour, self.last, self.reader = hour, now, reader

    def hours(self, hour: int) -> int:
        """Bit n tells if it was read in the hour that is n hours before `hour` (hours since 1970)."""
        return (self._hours << (hour - self._hour)) & HOURS if hour - self._hour <= WEEK + 1 else 0


class Activities:
    """The reads of all entries, and when each reader came last."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, Activity] = {}
        self.last_by_reader: dict[Hashable, float] = {}
        self.reads_by_hour: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, now: float, reader: Hashable, entry: Hashable) -> None:
        """Note a read; reads come in the order of time."""
        found = self._entries.get(entry)
        if found is None:
            if len(self._entries) >= ENTRIES_KEPT:
                _drop_a_tenth(self._entries, {one: each.last for one, each in self._entries.items()})
            found = self._entries[entry] = Activity(now)
        found.read(now, reader)
        if reader not in self.last_by_reader and len(self.last_by_reader) >= READERS_KEPT:
            _drop_a_tenth(self.last_by_reader, self.last_by_reader)
        self.last_by_reader[reader] = now
        hour = int(now // 3600)
        if hour not in self.reads_by_hour:
            self.reads_by_hour = {one: n for one, n in self.reads_by_hour.items() if one >= hour - 2 * WEEK}
        self.reads_by_hour[hour] = self.reads_by_hour.get(hour, 0) + 1

    def since(self, time: float) -> Iterator[tuple[Hashable, Activity]]:
        """Entries read since a time."""
        return ((entry, found) for entry, found in self._entries.items() if found.last >= time)


def _drop_a_tenth(table: dict[Hashable, Any], last: dict[Hashable, float]) -> None:
    for one in nsmallest(len(table) // 10, last, key=last.__getitem__):
        del table[one]
