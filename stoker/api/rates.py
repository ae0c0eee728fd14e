"""How often one caller may ask: a token bucket for each caller, shared through the queue Redis.

While the queue Redis is away, each process counts by itself, so each of them gives a caller the full rate.
"""

from __future__ import annotations

import math
import time
from hashlib import blake2b

from stoker.errors import QueueUnavailable
from stoker.queue.enqueue import Queue
from stoker.redis.script import Script

TAKE = Script("stoker.api", "take")
CALLERS = 10_000
"""Callers that one process remembers; the least recent one is dropped."""
AWAY_S = 5.0
"""Seconds for which a Redis that did not answer is not asked again: not every request must wait for it."""


class Bucket:
    """A number of requests a minute, up to a quarter of it at once; counted by this process alone."""

    def __init__(self, per_minute: int) -> None:
        self.per_s = per_minute / 60
        self.most = max(5.0, per_minute / 4)
        self._held: dict[str, tuple[float, float]] = {}

    def wait_s(self, caller: str) -> float:
        """Take one; 0 if it was there, else the seconds until there will be one."""
        now = time.monotonic()
        left, at = self._held.pop(caller, (self.most, now))
        left = min(self.most, left + (now - at) * self.per_s)
        taken = left >= 1
        self._held[caller] = (left - 1 if taken else left, now)
        if len(self._held) > CALLERS:
            del self._held[next(iter(self._held))]
        return 0 if taken else (1 - left) / self.per_s


class Rate:
    """The same rate over all processes. `what` names it: each rate has buckets of its own."""

    def __init__(self, queue: Queue, what: str, per_minute: int) -> None:
        self._queue = queue
        self._what = what
        self._own = Bucket(per_minute)
        self._ask_again_at = 0.0

    async def wait_s(self, caller: str) -> int:
        """Take one; 0 if it was there, else the whole seconds until there will be one."""
        if time.monotonic() >= self._ask_again_at:
            # An address or a name from outside: hashed, so that it cannot shape the key.
            name = f"{self._what}:{blake2b(caller.encode(), digest_size=16).hexdigest()}"
            bounds = (repr(self._own.per_s), repr(self._own.most))
            try:
                wait_ms: int = await self._queue.connection.call(TAKE, name, *bounds)
                return math.ceil(wait_ms / 1000)
            except QueueUnavailable:
                self._ask_again_at = time.monotonic() + AWAY_S
        return math.ceil(self._own.wait_s(caller))
