"""Reads of a cached, decoded value with cashews, with aiocache, and with redis-py and json.

Arguments: cache URL, library. Values are the same bodies; each library stores and decodes in its own way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from bench.blocks import rate
from bench.peers.protocol import serve

Get = Callable[[str], Awaitable[Any]]
Set = Callable[[str, Any], Awaitable[Any]]
LIFE_S = 3600


def by_hand(url: str) -> tuple[Get, Set]:
    """GET and json.loads."""
    redis = Redis.from_url(url)

    async def get(key: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads(await redis.get(key))

    async def put(key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        await redis.set(key, json.dumps(value), ex=LIFE_S)

    return get, put


def aiocache(url: str) -> tuple[Get, Set]:
    """Its Redis backend with its JSON serializer."""
    from aiocache import RedisCache  # type: ignore[import-not-found] # noqa: PLC0415 - lives in .bench-venv
    from aiocache.serializers import (  # type: ignore[import-not-found] # noqa: PLC0415 - the same
        JsonSerializer,
    )

    cache = RedisCache(serializer=JsonSerializer(), namespace="aiocache", timeout=5)
    cache.client = Redis.from_url(url)  # it has no way to name a Unix socket

    async def put(key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        await cache.set(key, value, ttl=LIFE_S)

    return cache.get, put


def cashews(url: str, *, client_side: bool = False) -> tuple[Get, Set]:
    """Its Redis backend as set up by default (pickle)."""
    from cashews import Cache  # type: ignore[import-not-found] # noqa: PLC0415 - lives in .bench-venv

    cache = Cache()
    setup_cashews(cache, url, **({"client_side": True} if client_side else {}))

    async def put(key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        await cache.set(key, value, expire=LIFE_S)

    return cache.get, put


def cashews_client_side(url: str) -> tuple[Get, Set]:
    """Cashews with its in-process copy, which the server's push messages keep fresh."""
    return cashews(url, client_side=True)


def setup_cashews(cache: Any, url: str, **options: Any) -> None:  # noqa: ANN401 - untyped here
    """Set a cache up on a Unix socket, which cashews can but has no name for."""
    from cashews.wrapper import (  # type: ignore[import-not-found] # noqa: PLC0415 - lives in .bench-venv
        backend_settings,
    )

    backend_settings.register_backend(
        "unix", backend_settings._redis_fabric, pass_uri=True, pickler=backend_settings.PicklerType.DEFAULT
    )
    cache.setup(url, **options)


LIBRARIES = {
    "redis-py and json": by_hand,
    "aiocache": aiocache,
    "cashews": cashews,
    "cashews client-side": cashews_client_side,
}


def main() -> None:
    """Answer the driver: `put` bodies, then `read` them."""
    made: list[tuple[Get, Set]] = []

    async def put(bodies: dict[str, str]) -> None:
        made.append(LIBRARIES[sys.argv[2]](sys.argv[1]))
        for key, body in bodies.items():
            await made[0][1](f"{sys.argv[2]}:{key}", json.loads(body))

    async def read(keys: list[str], readers: int, seconds: float) -> float:
        get = made[0][0]
        own = [f"{sys.argv[2]}:{key}" for key in keys]  # each in its own format

        async def step(number: int) -> None:
            if await get(own[number % len(own)]) is None:
                raise LookupError("a value is missing")

        return await rate(seconds, step, readers=readers)

    serve(put=put, read=read)


if __name__ == "__main__":
    main()
