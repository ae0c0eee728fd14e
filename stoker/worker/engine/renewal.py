"""A thread that renews the claims of its process while a handler blocks the event loop.

While the loop runs, upkeep renews them and this thread sends nothing. It has a blocking connection of
its own and ends nothing. When Redis does not answer it asks again. A process that is frozen as a whole renews
nothing. One whose loop has been blocked for a minute counts as hung: its claims expire, and others run its
jobs. Code that keeps Python's global lock for itself stops this thread, too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from stoker.errors import QueueUnavailable
from stoker.redis.pool import LONGEST_CONNECT_S
from stoker.redis.queue import call_blocking
from stoker.redis.sentinel import blocking_client
from stoker.worker.engine.claims import UPKEEP, Claims

logger = logging.getLogger(__name__)

LONGEST_BLOCK_S = 60.0
"""Seconds without a turn of the loop after which claims are renewed no more."""
LATE = 1.5
"""Rounds of upkeep that may be missed before the thread renews; a claim lasts three rounds."""


class Renewal:
    """The thread of one engine. `turned_at`: when upkeep last had its turn, on the monotonic clock."""

    def __init__(
        self,
        url: str,
        claims: Claims,
        held: Callable[[], Mapping[str, Sequence[str]]],
        turned_at: Callable[[], float],
    ) -> None:
        self._claims, self._held, self._turned_at = claims, held, turned_at
        self._every_s = claims.life_s / 3
        wait_s = min(claims.settings.timeout_s, LONGEST_CONNECT_S, self._every_s)
        self._redis = blocking_client(url, wait_s)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; waits for the call that is under way."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        self._redis.close()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s / 4):
            silent_s = time.monotonic() - self._turned_at()
            if LATE * self._every_s < silent_s < LONGEST_BLOCK_S:
                self._renew()

    def _renew(self) -> None:
        held = self._held()
        if not any(held.values()):
            return
        arguments = self._claims.upkeep_arguments(held, rescue=False)
        try:
            call_blocking(self._redis, UPKEEP, self._claims.settings.prefix, *arguments)
        except QueueUnavailable:
            pass  # upkeep reports an outage; the next round asks again
        except Exception:
            logger.exception("engine.renewal_broke")
