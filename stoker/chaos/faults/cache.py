"""Faults of the cache Redis: it may lose, evict or refuse anything, and return to an earlier state."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from stoker.chaos.faults.queue import TINY
from stoker.chaos.faults.servers import admin, down, frozen
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot

EVICTING, REFUSING, AMPLE = "allkeys-lfu", "noeviction", "256mb"
"""The policies under faults, and the memory without."""


async def restart(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back with the data of an earlier time (RACES 8)."""
    cache = scene.servers.cache
    async with admin(cache) as redis:
        await redis.save()
    await asyncio.sleep(scene.rng.uniform(0.3, 1.5))
    await down(cache, lasts_s)


async def restart_empty(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back without its data."""
    cache = scene.servers.cache
    await asyncio.to_thread(cache.kill)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        cache.wipe()
        await asyncio.to_thread(cache.start)


async def flush(scene: Scene, _slot: Slot | None, _lasts_s: float) -> None:
    """FLUSHALL."""
    async with admin(scene.servers.cache) as redis:
        await redis.flushall()


async def small(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """Memory for half of its data: entries and stamps are evicted all the time."""
    async with admin(scene.servers.cache) as redis:
        found = await redis.info("memory")
        half = (found["used_memory"] + found["used_memory_startup"]) // 2
        await redis.config_set("maxmemory", half)
        await _until_ample(redis, lasts_s)


async def full(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """No memory left and nothing evicted: scripts are refused, unlinks are not (RACES 44)."""
    async with admin(scene.servers.cache) as redis:
        await redis.config_set("maxmemory-policy", REFUSING)
        await redis.config_set("maxmemory", TINY)
        await _until_ample(redis, lasts_s)


async def freeze(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """It stops answering, and then answers all waiting requests at once."""
    await frozen(scene.servers.cache, lasts_s)


async def _until_ample(redis: Any, lasts_s: float) -> None:  # noqa: ANN401 - the driver's commands are untyped
    try:
        await asyncio.sleep(lasts_s)
    finally:
        with suppress(RedisError):
            await redis.config_set("maxmemory", AMPLE)
            await redis.config_set("maxmemory-policy", EVICTING)
