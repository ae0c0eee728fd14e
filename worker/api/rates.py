"""How often one caller may ask: a bucket for each, refilled steadily, kept by this process."""

from __future__ import annotations

import math
import time

CALLERS = 10_000
"""Callers that are remembered; the one not heard of for longest gives way."""


class Rate:
    """So many a minute, of which up to a quarter at once."""

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60
        self._most = max(5.0, per_minute / 4)
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, caller: str) -> int:
        """Take one; 0 if it was there, else the whole seconds until there will be one."""
        now = time.monotonic()
        left, at = self._buckets.pop(caller, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_s)
        taken = left >= 1
        self._buckets[caller] = (left - 1 if taken else left, now)
        if len(self._buckets) > CALLERS:
            del self._buckets[next(iter(self._buckets))]
        return 0 if taken else math.ceil((1 - left) / self._per_s)
