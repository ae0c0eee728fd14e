"""What was counted and measured. Latencies are milliseconds from the scheduled start of a request."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

EXAMPLES = 4
"""Descriptions kept of each kind of thing that went wrong; all of it is counted."""


@dataclass
class Tally:
    """Counts of one run. `states`: per view, answers by X-Cache; `ms` the same, as latencies."""

    reads: int = 0
    reads_checked: int = 0
    reads_of_changed: int = 0
    """Checked reads that had to show a change of this run: the others could hardly be wrong."""
    stale_reads: int = 0
    writes: int = 0
    writes_waited_for: int = 0
    """Writes that were applied before their answer, so that later reads are checked against them."""
    forbidden_reads_attempted: int = 0
    forbidden_reads_served: int = 0
    not_modified: int = 0
    server_errors: int = 0
    entries_verified: int = 0
    stale_entries: int = 0
    ms: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    write_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    """How long after its schedule a request was sent: a driver that cannot follow shows here."""
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def note(self, kind: str, example: str) -> None:
        """Something went wrong."""
        self.wrong[kind] += 1
        if self.wrong[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {example}")

    def shows(self, names: Sequence[str]) -> bool:
        """Whether there is some of everything that is named; False when nothing is."""
        return bool(names) and all(getattr(self, name) for name in names)

    def of(self, view: str, *states: str) -> list[float]:
        """Latencies of a view's answers in any of the states."""
        return [ms for state in states for ms in self.ms[view, state]]

    def hit_rate(self, *views: str) -> float | None:
        """Hits among answers that asked the cache; None without any."""
        hits = sum(len(self.ms[view, "hit"]) for view in views)
        asked = sum(len(self.of(view, "hit", "miss", "stale")) for view in views)
        return round(hits / asked, 4) if asked else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that this share of all does not exceed (nearest rank); None without values."""
    if not values:
        return None
    return round(sorted(values)[max(0, ceil(len(values) * share) - 1)], 2)
