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
from stoker.redis.queue import QueueConnection

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


class Departure:
    """When what the ringers of a process send leaves: all that waits leaves together, in one packet.

    A system call costs more than a ring. Each ringer has a reply of its own, so that what fails for one does
    not fail for the others.
    """

    def __init__(self, connection: QueueConnection) -> None:
        self._connection = connection
        self._waiting: list[Ringer[Any]] = []
        self._giving_way: asyncio.Handle | None = None
        self._left_at = -inf

    def soon(self, ringer: Ringer[Any]) -> None:
        """Let a ringer's packet leave, after the request that has committed and not too soon after others."""
        self._waiting.append(ringer)
        if self._giving_way is not None:
            return
        loop = asyncio.get_running_loop()
        early_s = self._left_at + GAP_S - loop.time()
        if early_s > 0:
            self._giving_way = loop.call_later(early_s, self.now)  # each turn would cost a system call
        else:
            self._give_way(loop, TURNS)

    def now(self) -> None:
        """Let what waits leave at once."""
        if self._giving_way is not None:
            self._giving_way.cancel()
            self._giving_way = None
        self._left_at = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, []
        packets = [(ringer, packet) for ringer in waiting if (packet := ringer.packet()) is not None]
        if not packets:
            return
        posted = self._connection.post(b"".join([packet for _, packet in packets]), len(packets))
        for at, (ringer, _) in enumerate(packets):
            ringer.left(posted, at)

    def _give_way(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        if turns:
            self._giving_way = loop.call_soon(self._give_way, loop, turns - 1)
        else:
            self.now()


class Ringer(Generic[T]):
    """Rings for the commits of one process, from its event loop or from threads."""

    def __init__(self, bell: Bell[T], departure: Departure) -> None:
        self._bell = bell
        self._departure = departure
        self._waits = False
        self._posted: asyncio.Future[list[Any]] | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._next: list[T] = []
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._in_thread: Future[None] | None = None
        self._thread_next: list[T] = []

    def soon(self, rows: Sequence[T]) -> None:
        """Ring from the running event loop for rows that are committed, without waiting for it."""
        self._next += rows  # a ring under way may have been answered before this commit
        is_ringing = self._posted is not None or (self._ringing is not None and not self._ringing.done())
        if not self._waits and not is_ringing:
            self._wait()

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
        while self._posted is not None or self._waits:
            if self._posted is not None:
                await asyncio.wait([self._posted])
            else:
                self._departure.now()
        if self._ringing is not None:
            # An error of a ring is logged by asyncio; closing goes on.
            await asyncio.wait([self._ringing])
        if self._thread is not None and self._in_thread is not None:
            # Not by a thread of the loop's: at the end of a process there is none to be had.
            await asyncio.wait([asyncio.wrap_future(self._in_thread)])
            self._thread.shutdown(wait=False)

    def packet(self) -> bytes | None:
        """What leaves now, without a task: that costs a third, and every request that writes does this.

        None where it takes more than one call: a task sends it.
        """
        self._waits = False
        packet = self._bell.packed(self._next)
        if packet is None:
            self._ring_in_task()
        return packet

    def left(self, posted: asyncio.Future[list[Any]] | None, at: int) -> None:
        """The packet has left, and the reply `at` is its own; without `posted` there was no connection."""
        if posted is None:
            self._ring_in_task()
            return
        self._posted = posted
        posted.add_done_callback(partial(self._answered, self._next, at))
        self._next = []

    def _wait(self) -> None:
        self._waits = True
        self._departure.soon(self)

    def _answered(self, rows: list[T], at: int, posted: asyncio.Future[list[Any]]) -> None:
        self._posted = None
        if posted.exception() is not None or isinstance(posted.result()[at], Exception):
            self._next = rows + self._next
            self._ring_in_task()  # connects, or says why not
        elif self._next:
            self._wait()

    def _ring_in_task(self) -> None:
        self._ringing = asyncio.get_running_loop().create_task(self._ring())

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
