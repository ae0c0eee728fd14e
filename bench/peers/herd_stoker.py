"""Fifty readers of one cold entry through Stoker in this process; see `herd`, which the peers run.

URLs come from the environment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.peers.herd import LOAD_S, counted
from bench.peers.protocol import serve
from stoker import Access, Domain, EntryKey, ScopeKind, Settings, Stoker, View, load_settings


def domain(redis: Redis) -> Domain:
    """One view whose loader counts its runs and takes 100 ms."""

    async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, str]:
        for key in keys:
            await redis.incr(counted(key.scope.id))
        await session.execute(text("SELECT pg_sleep(:load_s)"), {"load_s": LOAD_S})
        return dict.fromkeys(keys, "value")

    page = View("page", "book", load, access=Access.ANYONE)
    return Domain(name="herd", scopes=(ScopeKind("book", str),), views=(page,), rules=())


def main() -> None:
    """Answer the driver."""
    made: list[Stoker] = []

    async def open_() -> None:
        settings: Settings = load_settings()
        assert settings.cache_redis_url is not None
        redis = Redis.from_url(settings.cache_redis_url.get_secret_value())
        made.append(await Stoker.open(settings, domain(redis)))

    async def rush(key: str, readers: int, at_s: float) -> float:
        await asyncio.sleep(max(0.0, at_s - time.time()))
        started = time.perf_counter()
        await asyncio.gather(*(made[0].read("page", key) for _ in range(readers)))
        return time.perf_counter() - started

    serve(open=open_, rush=rush)


if __name__ == "__main__":
    main()
