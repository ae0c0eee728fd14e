"""The parts of a worker beside its engine: supervised while it works, and ended in bounded time.

After the jobs each part does its last: a sweep, the last rows of history. A server may not answer then, on a
connection that looks open; a part that waits for it is cancelled, and if need be left behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from stoker.worker.engine.running import CANCEL_GRACE_S
from stoker.worker.engine.supervisor import supervise

log = logging.getLogger(__name__)

LAST_S = 3.0
"""Seconds for what the parts do last."""

Start = Callable[[str, Callable[[], Awaitable[None]]], None]
"""Starts a part, by its name."""


@asynccontextmanager
async def beside() -> AsyncIterator[Start]:
    """Start parts and, when the context ends, wait for them for LAST_S; not at all if it ends by an error."""
    tasks: set[asyncio.Task[None]] = set()

    def start(name: str, make: Callable[[], Awaitable[None]]) -> None:
        tasks.add(asyncio.create_task(supervise(name, make), name=name))

    last_s = 0.0
    try:
        yield start
        last_s = LAST_S
    finally:
        await _end(tasks, last_s)


async def _end(tasks: set[asyncio.Task[None]], last_s: float) -> None:
    left = await _still(tasks, last_s)
    for task in left:
        task.cancel()
    if left := await _still(left, CANCEL_GRACE_S):
        # They end when the connections are closed that they wait for.
        log.warning("worker.parts_left_behind", extra={"parts": sorted(task.get_name() for task in left)})


async def _still(tasks: set[asyncio.Task[None]], within_s: float) -> set[asyncio.Task[None]]:
    return (await asyncio.wait(tasks, timeout=within_s))[1] if tasks else set()
