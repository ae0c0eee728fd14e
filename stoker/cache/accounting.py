"""Counts reads and builds of this process, and flushes the sums to the cache Redis.

Counting is a dictionary increment; a flush is one round trip every few seconds. Losing a flush loses
figures, never correctness.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from math import inf

from stoker.cache.keys import KeySpace, write_key
from stoker.cache.lookup import Plan
from stoker.cache.reading import State
from stoker.cache.reads import noted
from stoker.cache.view import Scope
from stoker.cache.visits import CHANGES_PENDING, Visits, change_member, changed, visited
from stoker.histogram import BOUNDS_S, BUCKETS, Observed, bucket
from stoker.numbers import whole
from stoker.redis.cache import CacheClient

READS_PENDING = 2_000
"""Entries in one flush. A process that reads more entries than that reports only some."""
LONGEST_MEMBER = 1_000
"""Longest name in bytes of an entry that is ranked: the ranking bounds the number of entries, not their
size."""
HITS_PENDING = 2_000
"""Plans whose hits are counted before they are summed up, because counting keeps the plans alive."""
HITS_OF_THREADS = 200_000
"""Hits of threads between two flushes; of more, the latest are counted."""
TIMES_PENDING = 200_000
"""Times of hits between two flushes, of one view; of more, the latest are counted."""
READ = "read_"
"""Begins the names of the times of reads; the state of the answer follows."""
READ_HIT = f"{READ}{State.HIT}"
ERROR = "error"
"""Used in place of a state for a read that failed."""
COUNTERS_LIFE_MS = 90 * 86400 * 1000
CHANGES = "#changes"
"""Used in place of a view's name to count changes. No view can have this name."""


class Accounting:
    """Counters and reads of one process."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._hits: dict[Plan, int] = {}
        self._first: dict[Plan, object] = {}  # the first reader of each
        self._reads: dict[bytes, int] = {}
        self._hits_of_threads: deque[tuple[Plan, object]] = deque(maxlen=HITS_OF_THREADS)
        self._visits = Visits()
        self._times: dict[str, deque[float]] = {}
        self._changes: set[bytes] = set()

    def hit(self, plan: Plan, reader: object) -> None:
        """Count a hit of an entry and of its access entry: one increment, because every hit does it."""
        try:
            self._hits[plan] += 1
        except KeyError:
            if len(self._hits) >= HITS_PENDING:
                self._sum_up_hits()
            self._hits[plan] = 1
            self._first[plan] = reader

    def hit_in_thread(self, plan: Plan, reader: object) -> None:
        """As `hit`, in any thread."""
        self._hits_of_threads.append((plan, reader))

    def miss(self, plan: Plan, reader: object) -> None:
        """Note a read that was no hit."""
        self._read(plan, 1)
        self._visits.note(plan.member, reader)

    def read(self, member: bytes, times: int = 1) -> None:
        """Note reads of an entry (as `write_key` writes it) for the ranking; `hit` and `miss` do it."""
        reads = self._reads
        if len(member) <= LONGEST_MEMBER and (member in reads or len(reads) < READS_PENDING):
            reads[member] = reads.get(member, 0) + times

    def changed(self, scope: Scope, views: Iterable[str]) -> None:
        """Note that views of a scope were invalidated."""
        if len(self._changes) < CHANGES_PENDING:
            self._changes.add(change_member(scope, views))

    def count(self, view: str, what: str, amount: int = 1) -> None:
        """Add to a counter of a view."""
        counts = self._counts.get(view)
        if counts is None:
            counts = self._counts[view] = Counter()
        counts[what] += amount

    def observe(self, view: str, what: str, us: int, times: int = 1) -> None:
        """Add a duration in microseconds to a histogram of a view, `times` over."""
        where = bucket(us / 1_000_000)
        self.count(view, f"{what}_us", us * times)
        self.count(view, f"{what}_{where}", times)
        self.count(view, f"{what}_us_{where}", us * times)

    def times_of(self, view: str) -> deque[float]:
        """Where the seconds of each hit of a view are added, in any thread: an append for each hit."""
        return self._times.setdefault(view, deque(maxlen=TIMES_PENDING))

    def took(self, view: str, state: str, seconds: float, times: int = 1) -> None:
        """Add the time of an answer that was no hit, by its state; `error` for a read that failed."""
        self.observe(view, f"{READ}{state}", round(seconds * 1_000_000), times)

    async def flush(self, client: CacheClient, keys: KeySpace) -> None:
        """Send the counts; raises CacheUnavailable. Counts that were refused are kept."""
        self._sum_up_hits()
        self._sum_up_times()
        if not self._counts and not self._reads and not self._visits and not self._changes:
            return  # without a call: an idle process sends nothing
        now_us = (await client.server(keys.reads)).now_us()
        counts, self._counts = self._counts, {}
        reads, self._reads = self._reads, {}
        counted = [(view, what, n) for view, counter in counts.items() for what, n in counter.items()]
        commands: list[tuple[object, ...]] = [
            ("HINCRBY", keys.counters(view), *rest) for view, *rest in counted
        ]
        commands += [("PEXPIRE", keys.counters(view), COUNTERS_LIFE_MS) for view in counts]
        commands += noted(keys, reads, now_us)
        commands += visited(keys, self._visits.take(), now_us)
        changes, self._changes = self._changes, set()
        commands += changed(keys, changes, now_us)
        refused = counted
        try:
            replies = (await client.call(*commands)).replies
            refused = [
                one for one, reply in zip(counted, replies, strict=False) if isinstance(reply, Exception)
            ]
        finally:
            for view, what, n in refused:  # refused by a full or loading server: sent with the next flush
                self.count(view, what, n)

    def _read(self, plan: Plan, times: int) -> None:
        """A read of an entry within a parent is one of the parent's access entry, too.

        Nothing tells later which entries lie within a parent, and so whether its access entry is in demand.
        """
        self.read(plan.member, times)
        if plan.parent is not None and plan.guard is not None:
            self.read(write_key(plan.guard), times)

    def _sum_up_times(self) -> None:
        """Into the buckets, a bucket at a time: sorting is cheaper than finding the bucket of each."""
        for view, pending in self._times.items():
            times = sorted(pending.popleft() for _ in range(len(pending)))
            begun = 0
            for bound, name in zip((*BOUNDS_S, inf), BUCKETS, strict=True):
                end = bisect_right(times, bound, begun)
                if end > begun:
                    us = round(sum(times[begun:end]) * 1_000_000)
                    self.count(view, f"{READ_HIT}_us", us)
                    self.count(view, f"{READ_HIT}_us_{name}", us)
                    self.count(view, f"{READ_HIT}_{name}", end - begun)
                begun = end

    def _sum_up_hits(self) -> None:
        for _ in range(len(self._hits_of_threads)):
            plan, reader = self._hits_of_threads.popleft()
            self._hits[plan] = self._hits.get(plan, 0) + 1
            self._first.setdefault(plan, reader)
        hits, self._hits = self._hits, {}
        first, self._first = self._first, {}
        for plan, reader in first.items():
            self._visits.note(plan.member, reader)
        views: dict[tuple[str, str], int] = {}
        for plan, times in hits.items():
            both = plan.view.name, plan.guard.view if plan.guard is not None else ""
            views[both] = views.get(both, 0) + times
            self._read(plan, times)
        for (view, guard), times in views.items():
            self.count(view, "hits", times)
            if guard:
                self.count(guard, "hits", times)


async def read_counters(
    client: CacheClient, keys: KeySpace, views: Iterable[str]
) -> Mapping[str, dict[str, int]]:
    """The counters of all processes, by view; raises CacheUnavailable."""
    names = list(views)
    if not names:  # of an application that has jobs alone
        return {}
    answer = await client.call(*(("HGETALL", keys.counters(name)) for name in names))
    return {
        name: {
            what.decode(errors="replace"): whole(n) for what, n in zip(reply[::2], reply[1::2], strict=True)
        }
        for name, reply in zip(names, answer.known(missing=[]), strict=True)
    }


def observed(counters: Mapping[str, int], what: str) -> Observed:
    """The histogram that counters of a view hold."""
    return Observed.of(lambda name: counters.get(f"{what}_{name}", 0))
