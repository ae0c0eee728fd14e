"""Asks both Redis servers how much memory they use and what they have removed."""

from __future__ import annotations

from stoker.redis.memory import QUESTION, Memory, memory_of
from stoker.stoker import Stoker


async def cache_memory(stoker: Stoker) -> Memory:
    """The memory of the cache Redis; raises CacheUnavailable."""
    return memory_of(*(await stoker.cache.store.client.call(*QUESTION)).all())


async def queue_memory(stoker: Stoker) -> Memory:
    """The memory of the queue Redis; raises QueueUnavailable."""
    return memory_of(*[await stoker.queue.connection.command(*asked) for asked in QUESTION])
