"""How many slots of a lane were busy, over time; touches no server."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """A lane of one process since the last question. `busy_s` of `slot_s` slot-seconds ran a job."""

    slots: int
    busy: int
    busy_s: float
    slot_s: float


class Meter:
    """Adds up the time for which slots were busy."""

    def __init__(self) -> None:
        self._busy = 0
        self._busy_s = 0.0
        self._changed_at = self._asked_at = time.monotonic()

    def changed(self, busy: int) -> None:
        """So many slots are busy from now on."""
        now = time.monotonic()
        self._busy_s += self._busy * (now - self._changed_at)
        self._busy, self._changed_at = busy, now

    def take(self, slots: int) -> Load:
        """What has been added up since the last call."""
        self.changed(self._busy)
        found = Load(slots, self._busy, self._busy_s, slots * (self._changed_at - self._asked_at))
        self._busy_s, self._asked_at = 0.0, self._changed_at
        return found
