"""The sweeper: applies recorded events every second or two, without the queue.

It directly calls the function that the relay job calls, so no flag and no pause can hold up a recorded event.
While a server is away it keeps trying, and logs this once for each outage.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from stoker.errors import Unavailable

log = logging.getLogger(__name__)


class Sweeper:
    """`apply` settles unsettled events and returns their number."""

    def __init__(self, apply: Callable[[], Awaitable[object]], every: timedelta, of: str = "events") -> None:
        self._of = of
        self._apply = apply
        self._every = every
        self._away: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until told to stop, and once more then."""
        while not stop.is_set():
            await self.sweep()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every.total_seconds()):
                    await stop.wait()
        await self.sweep()

    async def sweep(self) -> None:
        """Apply everything that can be applied now."""
        try:
            applied = await self._apply()
        except Unavailable as error:
            if self._away is None:
                log.warning("sweeper.waits", extra={"of": self._of, "error": str(error)})
            self._away = str(error)
            return
        if self._away is not None:
            log.info("sweeper.resumes", extra={"of": self._of, "applied": applied})
        self._away = None
