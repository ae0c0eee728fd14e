"""Whether a lane, or upkeep, still does its rounds; the worker's health is judged by it.

A round that ended in an error counts, because each of its calls is bounded in time. So an outage never counts
as stuck; a round that does not end, or does not begin, does. Touches no server.
"""

from __future__ import annotations

import time

STUCK_S = 20
"""Seconds without a round, though there was cause for one, after which restarting the process is the better
choice: ten times as long as upkeep takes to make a lane ask for work."""
now = time.monotonic


class Watchdog:
    """When one part of the engine last ended a round, and since when it has had cause for another."""

    def __init__(self) -> None:
        self._ended_at = now()
        self._cause_at: float | None = None

    def ended(self) -> None:
        """A round has ended, however it ended."""
        self._ended_at = now()

    def has_cause(self, *, whether: bool) -> None:
        """Say whether there is cause for a round, such as a due job; called each time this is known anew."""
        if not whether:
            self._cause_at = None
        elif self._cause_at is None:
            self._cause_at = now()

    def stuck(self) -> bool:
        """Whether the next round is overdue; callable from any thread."""
        cause_at = self._cause_at
        return cause_at is not None and now() - max(cause_at, self._ended_at) > STUCK_S
