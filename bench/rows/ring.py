"""What a ring costs who has committed: posted in packed bytes, enqueued as any job, or sent by a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench

IDS = ("ring", "ring-thread")
RINGS = 400
THEIRS = "the job enqueued in a task"
NOTE = "CPU of this process, one ring after the other; the answer is waited for"
THREAD = "a synchronous session has no event loop: the thread is what there is; CPU of this process"


async def measure(bench: Bench) -> list[Figure]:
    """Rings of one process, with nobody there to hear them."""
    rings = bench.scale.count(RINGS)
    async with bench.stoker() as stoker:
        queue = stoker.queue
        await queue.ring()  # connects, and makes the script known

        async def posted() -> None:
            posted = queue.connection.post(queue.packed_ring(), 1)
            assert posted is not None
            await posted

        async def enqueued() -> None:
            await asyncio.create_task(queue.ring())

        async def threaded() -> None:
            await asyncio.to_thread(queue.ring_from_thread)

        async def cpu(ring: Callable[[], Awaitable[None]]) -> float:
            started = time.process_time()
            for _ in range(rings):
                await ring()
            return (time.process_time() - started) / rings

        def side(ring: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
            return lambda: cpu(ring)

        ours, thread, theirs = await alternate(
            bench.scale.blocks, side(posted), side(threaded), side(enqueued)
        )
    return [
        Figure("ring", THEIRS, "s", "<= 0.6", ours, theirs, NOTE),
        Figure("ring-thread", THEIRS, "s", "", thread, theirs, THREAD),
    ]
