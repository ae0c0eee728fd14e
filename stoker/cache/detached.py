"""Tasks that outlive the request that began them.

A reader that is cancelled does not cancel a load (RACES 41): loads run here, and readers shield their waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Detached:
    """Keeps tasks referenced until they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ends: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run the coroutine in a task of its own. Wait for it through asyncio.shield."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what gives a resource back and has a limit of its own; `close` waits for its end.

        A task that is cancelled before its first turn runs no line of its coroutine: nothing is given back.
        """
        self._ends.add(self.start(work))

    async def close(self) -> None:
        """Cancel what still runs, and wait for its end and for what it leaves to be done."""
        for task in self._tasks - self._ends:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)  # not gather: a waiter that is cancelled must not cancel them all

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._ends.discard(task)
        if not task.cancelled():
            task.exception()  # seen by its waiters, if there are any left
