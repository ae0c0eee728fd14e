"""Ringing the worker after a commit: best effort, never in the way of the request.

One ring is under way per process; commits that come meanwhile share the next one. A failed ring costs
latency, never the event: the worker's sweeper finds it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from jobs.enqueue import Queue
from jobs.errors import QueueUnavailable

logger = logging.getLogger(__name__)


class Ringer:
    """Rings for the commits of one process, from its event loop or from threads."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._ringing: asyncio.Task[None] | None = None
        self._again = False
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._thread_waits = False

    def soon(self) -> None:
        """Ring from the running event loop, without waiting for it."""
        if self._ringing is not None and not self._ringing.done():
            self._again = True  # the ring under way may have been answered before this commit
            return
        self._ringing = asyncio.get_running_loop().create_task(self._ring())

    def soon_from_thread(self) -> None:
        """Ring for a synchronous session, from a thread of its own."""
        with self._lock:
            if self._thread_waits:
                return
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stoker-ring")
            self._thread_waits = True
            self._thread.submit(self._ring_in_thread)

    async def close(self) -> None:
        """Wait for the rings under way."""
        if self._ringing is not None:
            # Whatever a ring met is logged by asyncio; closing goes on.
            await asyncio.wait([self._ringing])
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown)

    async def _ring(self) -> None:
        while True:
            self._again = False
            try:
                await self._queue.ring()
            except QueueUnavailable as error:
                logger.warning("ring.failed", extra={"error": str(error)})
            if not self._again:
                return

    def _ring_in_thread(self) -> None:
        with self._lock:
            self._thread_waits = False  # a commit from here on needs a ring of its own
        try:
            self._queue.ring_from_thread()
        except QueueUnavailable as error:
            logger.warning("ring.failed", extra={"error": str(error)})
