"""Telling the queue of committed rows: best effort, never in the way of the request.

After a commit of events one asks for a relay; requested jobs are delivered by the process that has committed
them. One call is under way per process and kind; commits that come meanwhile share the next one. A call that
fails costs latency, never the row: the worker's sweepers find it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from stoker.errors import QueueUnavailable
from stoker.queue.bells import Bell

logger = logging.getLogger(__name__)

TURNS = 4
"""Turns of the event loop that a ring waits for the request that has committed: its answer is sent after
three. The worker learns of the change a fraction of a millisecond later."""
GAP_S = 0.005
"""Between two rings of a process: above 200 commits a second, one ring serves several, and costs each of them
less (docs/decisions/0023)."""
UNKNOWN_ROW = 0
"""Stands for rows that triggers wrote: nobody here knows their ids."""
NAMED = 20
"""Ids that the log line of a failed ring names at most."""
T = TypeVar("T")


class Ringer(Generic[T]):
    """Rings for the commits of one process, from its event loop or from threads."""

    def __init__(self, bell: Bell[T]) -> None:
        self._bell = bell
        self._posted: asyncio.Future[list[Any]] | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._giving_way: asyncio.Handle | None = None
        self._rung_at = -inf
        self._next: list[T] = []
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._in_thread: Future[None] | None = None
        self._thread_next: list[T] = []

    def soon(self, rows: Sequence[T]) -> None:
        """Ring from the running event loop for rows that are committed, without waiting for it."""
        self._next += rows  # a ring under way may have been answered before this commit
        is_ringing = self._posted is not None or (self._ringing is not None and not self._ringing.done())
        if self._giving_way is None and not is_ringing:
            self._post_soon(asyncio.get_running_loop())

    def soon_from_thread(self, rows: Sequence[T]) -> None:
        """Ring for a synchronous session, from a thread of its own."""
        with self._lock:
            self._thread_next += rows
            if len(self._thread_next) > len(rows):
                return  # a ring that has not begun will do
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stoker-ring")
            self._in_thread = self._thread.submit(self._ring_in_thread)

    async def close(self) -> None:
        """Wait for the rings under way, and ring those that gave way."""
        while self._posted is not None or self._giving_way is not None:
            if self._posted is not None:
                await asyncio.wait([self._posted])
            elif self._giving_way is not None:
                self._giving_way.cancel()
                self._post()
        if self._ringing is not None:
            # An error of a ring is logged by asyncio; closing goes on.
            await asyncio.wait([self._ringing])
        if self._thread is not None and self._in_thread is not None:
            # Not by a thread of the loop's: at the end of a process there is none to be had.
            await asyncio.wait([asyncio.wrap_future(self._in_thread)])
            self._thread.shutdown(wait=False)

    def _post_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        early_s = self._rung_at + GAP_S - loop.time()
        if early_s > 0:
            self._giving_way = loop.call_later(early_s, self._post)  # each turn would cost a system call
        else:
            self._give_way(loop, TURNS)

    def _give_way(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        if turns:
            self._giving_way = loop.call_soon(self._give_way, loop, turns - 1)
        else:
            self._post()

    def _post(self) -> None:
        # Without a task it costs a third, and every request that writes does this.
        self._giving_way = None
        self._rung_at = asyncio.get_running_loop().time()
        self._posted = self._bell.post(self._next)
        if self._posted is None:
            self._ringing = asyncio.get_running_loop().create_task(self._ring())
        else:
            self._posted.add_done_callback(partial(self._answered, self._next))
            self._next = []

    def _answered(self, rows: list[T], posted: asyncio.Future[list[Any]]) -> None:
        self._posted = None
        if posted.exception() is not None or isinstance(posted.result()[0], Exception):
            self._next = rows + self._next
            self._ringing = asyncio.get_running_loop().create_task(self._ring())  # connects, or says why not
        elif self._next:
            self._post_soon(asyncio.get_running_loop())

    async def _ring(self) -> None:
        while self._next:
            rows, self._next = self._next, []
            try:
                await self._bell.ring(rows)
            except QueueUnavailable as error:
                self._warn(rows, error)

    def _ring_in_thread(self) -> None:
        with self._lock:
            rows, self._thread_next = self._thread_next, []  # a commit from here on needs its own ring
        try:
            self._bell.ring_from_thread(rows)
        except QueueUnavailable as error:
            self._warn(rows, error)

    def _warn(self, rows: Sequence[T], error: QueueUnavailable) -> None:
        named = [self._bell.id_of(row) for row in rows[:NAMED]]
        extra = {"error": str(error), "bell": self._bell.name, "rows": len(rows), "ids": named}
        logger.warning("ring.failed", extra=extra)
