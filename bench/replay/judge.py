"""Compares what each answer shows with the changes that were in effect when its read started.

SQL numbers every write (`revision`), and every view shows the number that it was built from. Both sides are
compared with these numbers. Touches no server.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.replay.trace import Edit, Read, Team, Write

ITEMS = frozenset({"list", "search"})
"""Views whose items each show a revision of their own."""


@dataclass(frozen=True, slots=True)
class Least:
    """What an answer must show at least: its revision, or that of each project in it; none of `gone`."""

    revision: int
    of_items: Mapping[int, int]
    gone: Collection[int]
    forbidden: bool

    def stale(self, view: str, value: Any) -> bool:  # noqa: ANN401 - JSON of any view
        """Whether a value shows what was before."""
        if view not in ITEMS:
            return bool(value["revision"] < self.revision)
        return any(
            item["id"] in self.gone or item["revision"] < self.of_items.get(item["id"], 0)
            for item in value["items"]
        )


class Truth:
    """What has taken effect so far."""

    def __init__(self, teams: Mapping[int, Team]) -> None:
        self._members = {number: set(team.members) for number, team in teams.items()}
        self._projects: defaultdict[int, set[int]] = defaultdict(set)
        for number, members in self._members.items():
            for user in members:
                self._projects[user].add(number)
        self._gone: defaultdict[int, set[int]] = defaultdict(set)
        self._shown: dict[tuple[str, int], int] = {}

    def begun(self, write: Write) -> None:
        """Who is about to join may be let in or not; who is about to leave counts as gone when it is done."""
        if write.edit is Edit.ADD_MEMBER:
            self._members[write.project].add(write.user)
        elif write.edit is Edit.REMOVE_MEMBER:
            self._projects[write.user].discard(write.project)

    def done(self, write: Write, revision: int, views: Iterable[str]) -> None:
        """A write took effect: from now on these views show at least this revision."""
        for view in views:
            place = view, write.project
            self._shown[place] = max(revision, self._shown.get(place, 0))
        if write.edit is Edit.ADD_MEMBER:
            self._projects[write.user].add(write.project)
        elif write.edit is Edit.REMOVE_MEMBER:
            self._gone[write.user].add(write.project)

    def least(self, read: Read) -> Least:
        """What a read that begins now must show, and whether it must be refused."""
        if read.project:
            stranger = read.reader not in self._members[read.project]
            forbidden = stranger or read.project in self._gone[read.reader]
            return Least(self._shown.get((read.view, read.project), 0), {}, (), forbidden)
        seen = {number: self._shown.get((read.view, number), 0) for number in self._projects[read.reader]}
        return Least(max(seen.values(), default=0), seen, frozenset(self._gone[read.reader]), forbidden=False)


@dataclass
class Tally:
    """What one side answered."""

    latencies_ms: list[float] = field(default_factory=list)
    reads: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    in_between: int = 0
    """Reads begun after a write was committed and before it took effect that showed what was before."""
    intrusions: int = 0
    forbidden: int = 0
    """Intrusions that were served."""
    refused: int = 0
    """Refused reads of those who were joining or leaving at that moment."""
    writes: int = 0

    def served(self, read: Read, milliseconds: float, *, hit: bool) -> None:
        """An answer to somebody who may read."""
        self.latencies_ms.append(milliseconds)
        self.reads[read.view] += 1
        self.hits[read.view] += hit

    def hit_percent(self, view: str | None = None) -> float:
        """Share of reads that were answered from the cache."""
        if view is None:
            return 100 * self.hits.total() / self.reads.total()
        return 100 * self.hits[view] / self.reads[view] if self.reads[view] else 0.0
