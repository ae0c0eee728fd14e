"""Faults of the queue Redis. What they erase is counted first, in the same step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from stoker.chaos.faults.pairs import unreplaced
from stoker.chaos.faults.servers import admin, down, frozen
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot

PAUSE_MS = 10_000
TINY = "1mb"
"""Less memory than a server without any data uses."""


async def restart(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back with its data."""
    await down(scene.servers.queue, lasts_s)


async def restart_empty(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back without its data. Nothing is written between the count and the end."""
    queue = scene.servers.queue
    async with admin(queue) as redis:
        await redis.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        await scene.ledger.take(redis)
    await asyncio.to_thread(queue.kill)
    scene.ledger.erase()
    try:
        await asyncio.sleep(lasts_s)
    finally:
        queue.wipe()
        await asyncio.to_thread(queue.start)


async def flush(scene: Scene, _slot: Slot | None, _lasts_s: float) -> None:
    """FLUSHALL; counted in the same transaction."""
    async with admin(scene.servers.queue) as redis:
        await scene.ledger.take(redis, then=("FLUSHALL",))


async def full(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """No memory left: new jobs are refused, queued jobs must run."""
    async with admin(scene.servers.queue) as redis:
        await redis.config_set("maxmemory", TINY)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            await redis.config_set("maxmemory", "0")


async def freeze(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """It stops answering, and then answers all waiting requests at once."""
    await frozen(scene.servers.queue, lasts_s)


@asynccontextmanager
async def away(scene: Scene) -> AsyncIterator[None]:
    """SIGKILL; it comes back with its data after the block, and nobody takes its place."""
    async with AsyncExitStack() as last:
        if scene.servers.watched:
            await last.enter_async_context(unreplaced("queue", scene))
        queue = scene.servers.queue
        await asyncio.to_thread(queue.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(queue.start)
