"""Readers who were refused repeatedly: their queries take turns, so that members' misses stay fast.

A refusal is never cached, so each costs a load, and a reader who guesses ids could take all connections of
the loaders. Such a reader is slowed down, never refused for it. Each process counts for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

FEW = 5
"""Refusals of one reader after which its queries take turns."""
FORGOTTEN_S = 60.0
"""Seconds without a refusal after which a reader is treated like any other."""
KEPT = 10_000
"""Readers that are remembered; the one whose last refusal is oldest is dropped."""


class Strangers:
    """Readers who were refused recently: at most `at_once` of their loads run at once, and one per reader."""

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._refused: dict[str, tuple[int, float]] = {}
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def refused(self, reader: object) -> None:
        """Note that a reader was refused."""
        name, now = str(reader), time.monotonic()
        number, at = self._refused.pop(name, (0, now))
        self._refused[name] = (number + 1 if now - at < FORGOTTEN_S else 1, now)
        if len(self._refused) > KEPT:
            del self._refused[next(iter(self._refused))]

    def knows(self, reader: object) -> bool:
        """Whether a reader was refused more than a few times lately."""
        number, at = self._refused.get(str(reader), (0, 0.0))
        return number > FEW and time.monotonic() - at < FORGOTTEN_S

    @asynccontextmanager
    async def turn(self, reader: object) -> AsyncIterator[None]:
        """Wait for a turn if the reader was refused repeatedly; others do not wait."""
        if not self.knows(reader):
            yield
            return
        lock = self._asking.setdefault(str(reader), asyncio.Lock())
        async with lock, self._slots:
            yield
