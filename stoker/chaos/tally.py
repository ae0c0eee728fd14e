"""What was counted, measured and found wrong in one run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from math import inf

EXAMPLES = 20
"""Descriptions kept of what went wrong; all of it is counted."""


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


@dataclass
class Tally:
    """Counts of one run."""

    faults: Counter[str] = field(default_factory=Counter)
    mischief: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    """By state: hit, miss, stale (marked), bypass."""
    reads_checked: int = 0
    reads_of_changed: int = 0
    """Checked reads that had to show a change of this run: the others could hardly be wrong."""
    stale_reads: int = 0
    outages: int = 0
    """Requests answered with an outage of a server, as they should be during one."""
    unanswered: int = 0
    left: int = 0
    """Readers who went away before they were answered."""
    revocations: int = 0
    refused: int = 0
    """Reads by those whose right was taken away, and that were refused."""
    refusals: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    changes_followed: int = 0
    """Changes seen applied, so that later reads are checked against them."""
    acknowledged: set[str] = field(default_factory=set)
    """Jobs that a caller was told are enqueued."""
    recoveries: list[Recovery] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def note(self, kind: str, example: str) -> None:
        """Something went wrong."""
        self.wrong[kind] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{kind}: {example}")

    def in_effect(self, began: float) -> None:
        """A change that was begun at a time (seconds since 1970) is in effect: faults before it are over."""
        now = time.time()
        for recovery in self.recoveries:
            if recovery.seconds is None and recovery.ended <= began:
                recovery.seconds = now - recovery.ended
