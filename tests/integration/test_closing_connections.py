"""A client that was closed leaves no connection to its server, whatever happens while it closes."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio as redis_py

from stoker.errors import CacheUnavailable
from stoker.redis.cache import BUSY_CALLS, CacheClient
from stoker.redis.queue import QueueConnection
from tests.support.engine_stage import eventually
from tests.support.place import Place


async def gone(url: str, name: str) -> None:
    """Wait until the server has no connection with this client name."""
    async with redis_py.Redis.from_url(url) as redis:

        async def none_left() -> bool:
            return all(one["name"] != name for one in await redis.client_list())

        await eventually(none_left)


async def test_a_queue_connection_whose_close_is_cancelled_is_closed(place: Place) -> None:
    queue = QueueConnection(f"{place.queue_url}&client_name={place.prefix}", place.settings().queue)
    await queue.command("PING")
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    await gone(place.queue_url, place.prefix)


async def test_a_cache_client_whose_close_is_cancelled_while_it_adds_a_connection_is_closed(
    place: Place,
) -> None:
    cache = CacheClient(f"{place.cache_url}&client_name={place.prefix}", timeout_s=10, connections=2)
    await cache.run()
    calls = [asyncio.create_task(cache.call(("PING",))) for _ in range(BUSY_CALLS + 1)]
    await asyncio.sleep(0)  # the last call has found the only connection busy
    closing = asyncio.create_task(cache.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing, *calls})
    await asyncio.gather(*calls, return_exceptions=True)
    await gone(place.cache_url, place.prefix)


async def test_a_connection_that_is_lent_while_the_client_closes_is_closed(place: Place) -> None:
    cache = CacheClient(f"{place.cache_url}&client_name={place.prefix}", timeout_s=10, connections=1)
    lending = asyncio.create_task(cache.lend())
    await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(CacheUnavailable, match="has closed its connections"):
        await lending
    await gone(place.cache_url, place.prefix)
