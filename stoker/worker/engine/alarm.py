"""Sets an event when the next job of a lane is due. Touches no server: the lane then asks for work."""

from __future__ import annotations

import asyncio


class Alarm:
    """At most one alarm: for the earliest time that was asked for."""

    def __init__(self, ring: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self._ring, self._loop = ring, loop
        self._at: asyncio.TimerHandle | None = None

    def set(self, due_s: float | None) -> None:
        """Ring in so many seconds, or now; None changes nothing."""
        if due_s is None:
            return
        if due_s <= 0:
            self._ring.set()
            return
        at = self._loop.time() + due_s
        if self._at is None or self._at.when() > at or self._at.when() <= self._loop.time():
            self.cancel()
            self._at = self._loop.call_at(at, self._ring.set)

    def cancel(self) -> None:
        """Do not ring any more."""
        if self._at is not None:
            self._at.cancel()
