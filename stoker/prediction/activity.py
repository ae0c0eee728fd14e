"""What is remembered of each entry's reads: enough to predict the next one, within bounded memory.

Only reads are remembered, never warming: a predictor that learns from what its own warming caused would
confirm itself. Hours are those of the installation's clock, so nine o'clock stays nine o'clock when the clock
changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from heapq import nsmallest
from typing import Any

ENTRIES_KEPT = 20_000
"""Entries remembered. The tenth that was not read for the longest time is dropped when there are more."""
READERS_KEPT = 2_000
"""Readers whose last read is remembered, by the same rule."""
FAST_S = 2 * 3600.0
"""Half-life of the fast count of reads, and of that of changes: this morning."""
SLOW_S = 7 * 86400.0
"""Half-life of the slow count: these weeks."""
ONE_VISIT_S = 60.0
"""Reads of an entry by the same reader within this time count once: a client that polls, or floods, has the
weight of one reader."""
OF_ONE_READER = 120
"""Reads of one reader that are noted in a minute, of whatever entries; the rest of a flood is ignored."""
WEEK = 7 * 24
WEEKS = 4
"""Weeks whose hours are remembered."""
HOURS = (1 << WEEKS * WEEK + 2) - 1


class Activity:
    """The reads and changes of one entry. Times are seconds since 1970."""

    __slots__ = (
        "_counted",
        "_hour",
        "_hours",
        "changed",
        "changes",
        "fast",
        "first",
        "last",
        "reader",
        "slow",
    )

    def __init__(self, now: float) -> None:
        self.first = now
        self.last = now
        self.reader: Hashable = None
        self.fast = 0.0
        """Reads, each counting half as much after FAST_S, as of `last`."""
        self.slow = 0.0
        """The same with SLOW_S."""
        self.changed = 0.0
        """When it was last invalidated; 0: it was not."""
        self.changes = 0.0
        """Invalidations, each counting half as much after FAST_S, as of `changed`."""
        self._hours = 0  # bit n: read in the hour n hours before `_hour`
        self._hour = 0
        self._counted = 0.0

    def read(self, now: float, reader: Hashable, hour: int) -> None:
        """Note a read; `now` and `hour` are never earlier than those of the last one."""
        age = now - self.last
        again = reader == self.reader and now - self._counted < ONE_VISIT_S
        if not again:
            self._counted = now
        self.fast = self.fast * 2 ** (-age / FAST_S) + (not again)
        self.slow = self.slow * 2 ** (-age / SLOW_S) + (not again)
        self._hours = self.hours(hour) | 1
        self._hour, self.last, self.reader = hour, now, reader

    def change(self, now: float) -> None:
        """Note that it was invalidated."""
        self.changes = self.changes * 2 ** ((self.changed - now) / FAST_S) + 1
        self.changed = now

    def state(self) -> list[Any]:
        """What `restored` needs, as JSON can hold it."""
        numbers = [self.first, self.last, self.reader, self.fast, self.slow, self.changed, self.changes]
        return [*numbers, f"{self._hours:x}", self._hour, self._counted]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Activity:
        """The inverse of `state`."""
        found = cls(state[0])
        (found.first, found.last, found.reader, found.fast, found.slow) = state[:5]
        (found.changed, found.changes, hours, found._hour, found._counted) = state[5:]
        found._hours = int(hours, 16) & HOURS
        return found

    def hours(self, hour: int) -> int:
        """Bit n tells if it was read in the hour that is n hours before `hour`."""
        back = hour - self._hour
        return (self._hours << back) & HOURS if back <= WEEKS * WEEK + 1 else 0


class Activities:
    """The reads of all entries, and when each reader came last."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self.zone = zone
        self._entries: dict[Hashable, Activity] = {}
        self.last_by_reader: dict[Hashable, float] = {}
        self.reads_by_hour: dict[int, int] = {}
        self._hour = (0.0, 0.0, 0)  # from when, until when, which
        self._minute = 0
        self._in_minute: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, entry: Hashable) -> Activity | None:
        """What is remembered of an entry."""
        return self._entries.get(entry)

    def hour(self, now: float) -> int:
        """The hour of the installation's clock, as hours since 1970. It does not go back in autumn."""
        begin, end, hour = self._hour
        if not begin <= now < end:
            begin = now // 900 * 900  # offsets are whole quarters of an hour
            offset = datetime.fromtimestamp(now, self.zone).utcoffset()
            local = int((now + (offset.total_seconds() if offset else 0)) // 3600)
            hour = max(hour, local) if now >= end else local
            self._hour = (begin, begin + 900, hour)
        return hour

    def read(self, now: float, reader: Hashable, entry: Hashable) -> bool:
        """Note a read; reads come in the order of time. False for one that is ignored."""
        if self._floods(now, reader):
            return False
        found = self._entries.get(entry)
        if found is None:
            if len(self._entries) >= ENTRIES_KEPT:
                _drop_a_tenth(self._entries, {one: each.last for one, each in self._entries.items()})
            found = self._entries[entry] = Activity(now)
        hour = self.hour(now)
        found.read(now, reader, hour)
        if reader not in self.last_by_reader and len(self.last_by_reader) >= READERS_KEPT:
            _drop_a_tenth(self.last_by_reader, self.last_by_reader)
        self.last_by_reader[reader] = now
        if hour not in self.reads_by_hour:
            self.reads_by_hour = {one: n for one, n in self.reads_by_hour.items() if one >= hour - 2 * WEEK}
        self.reads_by_hour[hour] = self.reads_by_hour.get(hour, 0) + 1
        return True

    def change(self, now: float, entry: Hashable) -> None:
        """Note that an entry was invalidated; unknown ones are nobody's business."""
        if (found := self._entries.get(entry)) is not None:
            found.change(now)

    def since(self, time: float) -> Iterator[tuple[Hashable, Activity]]:
        """Entries read since a time."""
        return ((entry, found) for entry, found in self._entries.items() if found.last >= time)

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON can hold it."""
        return {
            "entries": [[entry, *found.state()] for entry, found in self._entries.items()],
            "readers": list(self.last_by_reader.items()),
            "traffic": list(self.reads_by_hour.items()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._entries = {one[0]: Activity.restored(one[1:]) for one in state["entries"]}
        self.last_by_reader = dict(map(tuple, state["readers"]))
        self.reads_by_hour = dict(map(tuple, state["traffic"]))

    def _floods(self, now: float, reader: Hashable) -> bool:
        if now // 60 != self._minute:
            self._minute = int(now // 60)
            self._in_minute.clear()
        self._in_minute[reader] += 1
        return self._in_minute[reader] > OF_ONE_READER


def _drop_a_tenth(table: dict[Hashable, Any], last: dict[Hashable, float]) -> None:
    for one in nsmallest(len(table) // 10, last, key=last.__getitem__):
        del table[one]
