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
        """Run a coroutine that gives a resource back and limits its own time; `close` waits for it.

        `close` does not cancel it: a task that is cancelled before its first turn runs no line of its
        coroutine, and nothing would be given back.
        """
        self._ends.add(self.start(work))

    async def close(self) -> None:
        """Cancel the tasks that still run, and wait for them and for those of `finish`."""
        for task in self._tasks - self._ends:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)  # not gather: a waiter that is cancelled must not cancel them all

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._ends.discard(task)
        if not task.cancelled():
            task.exception()  # its waiters see the error, if any are left
