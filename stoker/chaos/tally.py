"""What was counted, measured and found wrong in one run.

Latencies are milliseconds from the scheduled start of a request.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, inf

EXAMPLES = 4
"""Most descriptions kept of each kind of failure; all failures are counted."""


@dataclass
class Recovery:
    """From the end of a fault (seconds since 1970) until a change that was begun after it was in effect."""

    fault: str
    ended: float
    seconds: float | None = None


@dataclass
class Trouble:
    """A fault and its time: seconds since 1970, endless while it lasts."""

    kind: str
    target: str
    began: float
    ended: float = inf


@dataclass(frozen=True)
class Return:
    """A job asked for after a fault of the queue (seconds since 1970), and when it was done, if it was."""

    fault: str
    asked: float
    done: float | None


@dataclass(frozen=True)
class Killed:
    """A worker that was killed (seconds since 1970) while it ran a job that was to take longer."""

    pid: int
    job_id: str
    at: float


@dataclass
class Traffic:
    """Counts of requests and answers."""

    reads: int = 0
    reads_checked: int = 0
    reads_of_changed: int = 0
    """Checked reads that had to show a change of this run; other reads prove little."""
    stale_reads: int = 0
    writes: int = 0
    writes_waited_for: int = 0
    """Writes known to be applied, so that later reads are checked against them."""
    forbidden_reads_attempted: int = 0
    forbidden_reads_served: int = 0
    not_modified: int = 0
    revocations: int = 0
    """Rights that were taken away, acknowledged."""
    server_errors: int = 0
    outages: int = 0
    """Requests answered with an outage of a server, as they should be during one."""
    unanswered: int = 0
    left: int = 0
    """Readers who went away before they were answered."""
    refusals: Counter[str] = field(default_factory=Counter)
    """What a release that does not know a view or an event answered, by error."""
    entries_verified: int = 0
    stale_entries: int = 0
    ms: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By view and state (hit, miss, stale, bypass)."""
    write_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    """How long after its scheduled time a request was sent: large if the driver is too slow."""

    def of(self, view: str, *states: str) -> list[float]:
        """Latencies of a view's answers in any of the states."""
        return [ms for state in states for ms in self.ms[view, state]]

    def by_state(self) -> Counter[str]:
        """Answers by state."""
        found: Counter[str] = Counter()
        for (_, state), answers in self.ms.items():
            found[state] += len(answers)
        return found

    def hit_rate(self, *views: str) -> float | None:
        """Hits among answers that asked the cache; None without any."""
        hits = sum(len(self.ms[view, "hit"]) for view in views)
        asked = sum(len(self.of(view, "hit", "miss", "stale")) for view in views)
        return round(hits / asked, 4) if asked else None


@dataclass
class Tally(Traffic):
    """The same, with what was done to the servers and to the processes."""

    faults: Counter[str] = field(default_factory=Counter)
    mischief: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, float] = field(default_factory=dict)
    """Jobs that a caller was told are enqueued, and when (seconds since 1970)."""
    changes: dict[int, float] = field(default_factory=dict)
    """Transactions of the changes that were acknowledged, and when each began (seconds since 1970)."""
    recoveries: list[Recovery] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    killed: list[Killed] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def note(self, kind: str, example: str) -> None:
        """Record a failure."""
        self.wrong[kind] += 1
        if self.wrong[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {example}")

    def in_effect(self, began: float) -> None:
        """A change that was begun at a time (seconds since 1970) is in effect: faults before it are over."""
        now = time.time()
        for recovery in self.recoveries:
            if recovery.seconds is None and recovery.ended <= began:
                recovery.seconds = now - recovery.ended


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that this share of all does not exceed (nearest rank); None without values."""
    if not values:
        return None
    return round(sorted(values)[max(0, ceil(len(values) * share) - 1)], 2)
