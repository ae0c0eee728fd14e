"""Keys that may stay for ever are named; any other without a TTL is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from stoker.chaos.keys import without_ttl
from stoker.embedded import Urls


@pytest.fixture
async def urls(server_urls: Urls) -> AsyncIterator[Urls]:
    """A database of each Redis that nobody else uses."""
    queue, cache = urlsplit(server_urls.queue), urlsplit(server_urls.cache)
    own = Urls(
        server_urls.database,
        queue._replace(query="db=11").geturl(),
        cache._replace(query="db=12").geturl(),
    )
    yield own
    for url in (own.queue, own.cache):
        async with Redis.from_url(url) as redis:
            await redis.flushdb()


async def test_a_key_without_a_ttl_is_wrong_unless_it_is_declared(urls: Urls) -> None:
    async with Redis.from_url(urls.queue) as queue, Redis.from_url(urls.cache) as cache:
        await queue.hset("p:concurrency", "warm", "3")
        await queue.hset("other:concurrency", "warm", "3")
        await queue.set("p:stray", 1)
        await queue.set("p:flag", 1, ex=60)
        await cache.set("p:{note:1}:page", 1, ex=60)
        await cache.set("p:concurrency", 1)
    found = await without_ttl(urls, "p")
    assert found.declared == ["p:concurrency"]
    assert found.wrong == ["3 keys have no TTL: other:concurrency; p:concurrency; p:stray"]
