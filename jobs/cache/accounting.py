"""What happened to reads and builds in this process, summed up and flushed to the cache Redis.

Counting is a dictionary increment; a flush is one round trip every few seconds. Losing a flush loses
figures, never correctness. The last read of each entry goes to one bounded sorted set: the signal by which
refresh and warming know what is hot.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from pydantic_core import from_json, to_json

from jobs.cache.client import CacheClient
from jobs.cache.keys import KeySpace
from jobs.cache.view import EntryKey, Scope

READS_KEPT = 20_000
"""Entries in the sorted set of recent reads; the longest unread are dropped."""
READS_PENDING = 10_000
"""Entries that one process remembers between two flushes."""
COUNTERS_LIFE_MS = 90 * 86400 * 1000
CHANGES = "#changes"
"""Stands where a view's name stands, for what is counted about changes: no view can be named like this."""
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper bounds of the buckets of everything that is observed; their names are stored: only ever add."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A histogram: how many lay in each bucket (not summed up), by bound in seconds; the last has none."""

    buckets: Mapping[float, int]
    sum_s: float


class Accounting:
    """Counters and read presence of one process."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._reads: dict[EntryKey, float] = {}

    def count(self, view: str, what: str, amount: int = 1) -> None:
        """Add to a counter of a view."""
        counts = self._counts.get(view)
        if counts is None:
            counts = self._counts[view] = Counter()
        counts[what] += amount

    def observe_all(self, view: str, what: str, durations_us: Collection[int]) -> None:
        """`observe` many durations."""
        self.count(view, f"{what}_us", sum(durations_us))
        for bound, times in Counter(_bound(us / 1_000_000) for us in durations_us).items():
            self.count(view, f"{what}_le_{bound:g}", times)

    def observe(self, view: str, what: str, us: int, times: int = 1) -> None:
        """Add a duration in microseconds to a histogram of a view, `times` over."""
        self.count(view, f"{what}_us", us * times)
        self.count(view, f"{what}_le_{_bound(us / 1_000_000):g}", times)

    def read(self, key: EntryKey) -> None:
        """Note that an entry was read."""
        if len(self._reads) < READS_PENDING or key in self._reads:
            self._reads[key] = time.time()

    async def flush(self, client: CacheClient, keys: KeySpace) -> None:
        """Send what has been gathered; raises CacheUnavailable, and then keeps the counts."""
        counts, self._counts = self._counts, {}
        reads, self._reads = self._reads, {}
        commands: list[tuple[str | bytes | float, ...]] = []
        for view, counter in counts.items():
            commands += [("HINCRBY", keys.counters(view), what, n) for what, n in counter.items()]
            commands.append(("PEXPIRE", keys.counters(view), COUNTERS_LIFE_MS))
        if reads:
            pairs = [part for key, at in reads.items() for part in (f"{at:.3f}", write_key(key))]
            commands.append(("ZADD", keys.reads, "GT", *pairs))
            commands.append(("ZREMRANGEBYRANK", keys.reads, 0, -READS_KEPT - 1))
            commands.append(("PEXPIRE", keys.reads, COUNTERS_LIFE_MS))
        if not commands:
            return
        try:
            await client.call(*commands)
        except BaseException:
            for view, counter in counts.items():
                for what, n in counter.items():
                    self.count(view, what, n)
            raise


async def read_counters(
    client: CacheClient, keys: KeySpace, views: Iterable[str]
) -> Mapping[str, dict[str, int]]:
    """The counters of all processes, by view."""
    names = list(views)
    answer = await client.call(*(("HGETALL", keys.counters(name)) for name in names))
    return {
        name: {what.decode(): int(n) for what, n in zip(reply[::2], reply[1::2], strict=True)}
        for name, reply in zip(names, answer.replies, strict=True)
    }


def observed(counters: Mapping[str, int], what: str) -> Observed:
    """The histogram that counters of a view hold."""
    buckets = {bound: counters.get(f"{what}_le_{bound:g}", 0) for bound in (*BOUNDS_S, inf)}
    return Observed(buckets, counters.get(f"{what}_us", 0) / 1_000_000)


def _bound(seconds: float) -> float:
    place = bisect_left(BOUNDS_S, seconds)
    return BOUNDS_S[place] if place < len(BOUNDS_S) else inf


async def recently_read(
    client: CacheClient, keys: KeySpace, within_s: float, limit: int
) -> list[tuple[EntryKey, float]]:
    """Entries read in the last seconds, the latest first, each with its last read (seconds since 1970)."""
    answer = await client.call(
        (
            *("ZRANGE", keys.reads, "+inf", time.time() - within_s),
            *("BYSCORE", "REV", "LIMIT", 0, limit, "WITHSCORES"),
        )
    )
    members, scores = answer.first()[::2], answer.first()[1::2]
    found = [(parse_key(member), float(score)) for member, score in zip(members, scores, strict=True)]
    return [(key, at) for key, at in found if key is not None]


async def last_reads(
    client: CacheClient, keys: KeySpace, entries: list[EntryKey]
) -> dict[EntryKey, float | None]:
    """When entries were last read (seconds since 1970), None for those not remembered."""
    if not entries:
        return {}
    answer = await client.call(("ZMSCORE", keys.reads, *map(write_key, entries)))
    return {
        key: None if score is None else float(score)
        for key, score in zip(entries, answer.first(), strict=True)
    }


def write_key(key: EntryKey) -> bytes:
    """An entry's key as a member of the sorted set."""
    return to_json([key.view, key.scope.kind, key.scope.id, key.params])


def parse_key(member: bytes) -> EntryKey | None:
    """The inverse of `write_key`; None for what is not of this form."""
    try:
        view, kind, scope_id, params = from_json(member)
    except (ValueError, TypeError):
        return None
    if not all(isinstance(part, str) for part in (view, kind, scope_id, params)):
        return None
    return EntryKey(view, Scope(kind, scope_id), params)
