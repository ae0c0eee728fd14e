"""Fifty readers of one cold key in this process; three other processes do the same at the same moment.

The loader counts its runs in Redis and takes 100 ms. Arguments: cache URL. Each library uses its own
protection against stampedes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from bench.peers.protocol import serve

LOAD_S = 0.1
LIFE_S = 300
Read = Callable[[str], Awaitable[Any]]


def counted(key: str) -> str:
    """Where the loader's runs are counted."""
    return f"loads:{key}"


def aiocache(url: str) -> Read:
    """Its lock across processes (RedLock), as its `cached_stampede` uses it."""
    from aiocache import RedisCache  # type: ignore[import-not-found] # noqa: PLC0415 - lives in .bench-venv
    from aiocache.decorators import (  # type: ignore[import-not-found] # noqa: PLC0415 - the same
        cached_stampede,
    )

    redis = Redis.from_url(url)

    class OnSocket(RedisCache):  # type: ignore[misc] # untyped here
        """It has no way to name a Unix socket."""

        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - its own
            super().__init__(**options)
            self.client = redis

    async def load(key: str) -> str:
        await redis.incr(counted(key))
        await asyncio.sleep(LOAD_S)
        return "value"

    cached = cached_stampede(
        lease=2, ttl=LIFE_S, cache=OnSocket, key_builder=lambda _, key: f"aiocache:{key}", timeout=5
    )
    read: Read = cached(load)
    return read


def cashews(url: str) -> Read:
    """Its `lock=True`."""
    from cashews import Cache  # type: ignore[import-not-found] # noqa: PLC0415 - lives in .bench-venv

    from bench.peers.caches import setup_cashews  # noqa: PLC0415 - needs it too

    cache = Cache()
    setup_cashews(cache, url)
    redis = Redis.from_url(url)

    async def load(key: str) -> str:
        await redis.incr(counted(key))
        await asyncio.sleep(LOAD_S)
        return "value"

    read: Read = cache(ttl=LIFE_S, key="cashews:{key}", lock=True)(load)
    return read


def dogpile(url: str) -> Read:
    """Threads, and a lock in Redis."""
    from dogpile.cache import make_region  # type: ignore[import-not-found] # noqa: PLC0415 - in .bench-venv

    redis = BlockingRedis.from_url(url, max_connections=200)
    region = make_region().configure(
        "dogpile.cache.redis",
        expiration_time=LIFE_S,
        arguments={
            "url": url,
            "distributed_lock": True,
            "lock_timeout": 10,
            "lock_sleep": 0.01,
            "thread_local_lock": False,
        },
    )
    threads = ThreadPoolExecutor(64)

    def load(key: str) -> str:
        redis.incr(counted(key))
        time.sleep(LOAD_S)
        return "value"

    async def read(key: str) -> Any:  # noqa: ANN401 - whatever it returns
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, region.get_or_create, f"dogpile:{key}", lambda: load(key))

    return read


LIBRARIES: dict[str, Callable[[str], Read]] = {
    "aiocache": aiocache,
    "cashews": cashews,
    "dogpile.cache": dogpile,
}


def main() -> None:
    """Answer the driver: `rush` at a moment of wall time."""
    made: dict[str, Read] = {}

    async def open_(library: str) -> None:
        made[library] = LIBRARIES[library](sys.argv[1])

    async def rush(library: str, key: str, readers: int, at_s: float) -> float:
        await asyncio.sleep(max(0.0, at_s - time.time()))
        started = time.perf_counter()
        await asyncio.gather(*(made[library](key) for _ in range(readers)))
        return time.perf_counter() - started

    serve(open=open_, rush=rush)


if __name__ == "__main__":
    main()
