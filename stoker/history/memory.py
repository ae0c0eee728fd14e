"""Asks both Redis servers how much memory they use and what they have removed."""

from __future__ import annotations

import asyncio

from stoker.redis.memory import QUESTION, Memory, memory_of, together
from stoker.stoker import Stoker


async def cache_memory(stoker: Stoker) -> Memory:
    """The memory of the cache Redis, that of all nodes of a cluster together; raises CacheUnavailable."""
    nodes = await stoker.cache.store.client.primaries()
    answers = await asyncio.gather(*(node.call(QUESTION) for node in nodes))
    return together([memory_of(answer.first()) for answer in answers])


async def queue_memory(stoker: Stoker) -> Memory:
    """The memory of the queue Redis; raises QueueUnavailable."""
    return memory_of(await stoker.queue.connection.command(*QUESTION))
