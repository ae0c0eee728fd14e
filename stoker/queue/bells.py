"""What a process sends to the queue for rows that it has committed: a ring for events, the jobs themselves.

Sending is best effort: the worker's sweepers find the rows. Rings coalesce in the queue, and it takes each
requested job once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from stoker.queue.enqueue import Queue
from stoker.queue.packing import Request

T_contra = TypeVar("T_contra", contravariant=True)


class Bell(Protocol[T_contra]):
    """What is sent for committed rows."""

    name: str
    """For the log."""

    def packed(self, rows: Sequence[T_contra]) -> bytes | None:
        """The one call that sends it, as Redis reads it; None where it takes more calls."""

    async def ring(self, rows: Sequence[T_contra]) -> None:
        """Send it; raises QueueUnavailable."""

    def ring_from_thread(self, rows: Sequence[T_contra]) -> None:
        """The same, blocking."""

    def id_of(self, row: T_contra) -> int | str:
        """For the log."""


class RelayBell:
    """Asks for a relay of recorded events; a row is the id of an event."""

    name = "relay"

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def packed(self, _rows: Sequence[int]) -> bytes:
        """The call that sends it."""
        return self._queue.packed_ring()

    async def ring(self, _rows: Sequence[int]) -> None:
        """Send it; raises QueueUnavailable."""
        await self._queue.ring()

    def ring_from_thread(self, _rows: Sequence[int]) -> None:
        """The same, blocking."""
        self._queue.ring_from_thread()

    def id_of(self, row: int) -> int:
        """For the log."""
        return row


class DeliveryBell:
    """Delivers requested jobs themselves: that takes no longer than asking a worker to do it.

    The rows stay undelivered until a sweep delivers them again, which the queue ignores, and marks them.
    """

    name = "delivery"

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def packed(self, rows: Sequence[Request]) -> bytes | None:
        """The one call that sends them; None where it takes more calls."""
        return self._queue.packed_delivery(rows)

    async def ring(self, rows: Sequence[Request]) -> None:
        """Send them; raises QueueUnavailable."""
        await self._queue.deliver(rows)

    def ring_from_thread(self, rows: Sequence[Request]) -> None:
        """The same, blocking."""
        self._queue.deliver_from_thread(rows)

    def id_of(self, row: Request) -> str:
        """For the log."""
        return row.job_id
