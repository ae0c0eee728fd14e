"""Every two seconds, one call: renew a process's claims, rescue those of dead workers, find due jobs.

After an outage of Redis the claims of living workers have expired. They renew first, and no worker rescues
for the length of a claim, so that an outage makes no job run twice. While a handler blocks the event loop, a
thread renews in its place (renewal.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from stoker.worker.engine.claims import Claims
from stoker.worker.engine.lane import LaneWorker
from stoker.worker.engine.watchdog import Watchdog


class Upkeep:
    """Keeps the claims of one process alive."""

    def __init__(self, claims: Claims, lanes: Mapping[str, LaneWorker]) -> None:
        self._claims = claims
        self._lanes = lanes
        self._every_s = claims.life_s / 3
        self._grace_s = self._every_s
        self._last = time.monotonic()
        self._turned_at = self._last
        self.watchdog = Watchdog()
        self.watchdog.has_cause(whether=True)

    @property
    def silent_s(self) -> float:
        """Seconds since the queue Redis last answered."""
        return time.monotonic() - self._last

    @property
    def turned_at(self) -> float:
        """When it last had a turn of the event loop, on the monotonic clock; callable from any thread."""
        return self._turned_at

    def held(self) -> dict[str, list[str]]:
        """The ids of the jobs that this process runs, by lane; callable from any thread."""
        return {name: lane.held() for name, lane in self._lanes.items()}

    async def run(self) -> None:
        """Go on until cancelled; raises QueueUnavailable."""
        rescue_from = time.monotonic() + self._grace_s
        self._grace_s = self._claims.life_s
        while True:
            self._turned_at = time.monotonic()
            try:
                await self._round(rescue=time.monotonic() >= rescue_from)
            finally:
                self._turned_at = time.monotonic()
                self.watchdog.ended()
            await asyncio.sleep(self._every_s)

    async def _round(self, *, rescue: bool) -> None:
        news = await self._claims.upkeep(self.held(), rescue=rescue)
        self._last = time.monotonic()
        for name, lane in self._lanes.items():
            lane.hear(news[name])
            for job_id in news[name].rescued.keys() & set(news[name].cancel):
                await self._claims.cancel(job_id)
