"""The earlier cache layer: a rebuild after its description, with none of its code.

A TTL for each view; GET, else load and SET; invalidation by SCAN inside the request; dashboards of active
users warmed every half hour; no check of who reads a cached value. Where the description is open, the faster
variant was chosen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic_core import from_json, to_json
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.warm import active_users, warm_order
from jobs.warming import ACTIVE_WITHIN, PROJECTS_PER_USER
from stoker import NotFound

Load = Callable[[], Awaitable[Any]]
TTL = {
    "detail": timedelta(seconds=1800),
    "dashboard": timedelta(seconds=300),
    "list": timedelta(seconds=600),
    "export": timedelta(seconds=3600),
    "stats": timedelta(seconds=900),
    "search": timedelta(seconds=1200),
}
WARM_EVERY = timedelta(minutes=30)
SCAN_COUNT = 1000
"""Keys that Redis scans in one call. redis-py's default of 10 needs a hundred times as many round trips."""


class EarlierLayer:
    """The layer on one Redis; `pace` is by how much its times are shortened."""

    def __init__(self, redis: Redis, pace: float = 1) -> None:
        self._redis = redis
        self._pace = pace

    async def read(self, view: str, key: str, load: Load) -> tuple[Any, bool]:
        """The decoded value, and whether it was cached. Only `load` knows what the reader may see."""
        cached = await self._redis.get(key)
        if cached is not None:
            return from_json(cached), True
        value = await load()
        await self._redis.set(key, to_json(value), px=TTL[view] / self._pace)
        return value, False

    async def project_updated(self, project_id: int, user_id: int) -> None:
        """All that is cached of the project, and of the user who wrote; it knows of no other members."""
        await drop(self._redis, project_key(project_id, "*"))
        await drop(self._redis, user_key(user_id, "*"))

    async def contents_updated(self, project_id: int) -> None:
        """Dashboard and exports of the project."""
        await self._redis.delete(project_key(project_id, "dashboard"))
        await drop(self._redis, project_key(project_id, "export:*"))

    async def user_changed(self, user_id: int) -> None:
        """All that is cached of a user."""
        await drop(self._redis, user_key(user_id, "*"))

    async def keep_warm(
        self, session: Callable[[], Any], dashboard: Callable[[int], Awaitable[tuple[Any, bool]]]
    ) -> None:
        """Read the dashboards of active users every half hour, one after the other, until cancelled."""
        while True:
            async with session() as opened:
                project_ids = await _wanted(opened)
            for project_id in project_ids:
                with suppress(NotFound):
                    await dashboard(project_id)
            await asyncio.sleep(WARM_EVERY.total_seconds() / self._pace)


async def drop(redis: Redis, pattern: str) -> int:
    """Scan all keys and delete those that match; returns their number."""
    found = [key async for key in redis.scan_iter(match=pattern, count=SCAN_COUNT)]
    if found:
        await redis.delete(*found)
    return len(found)


def project_key(project_id: int, rest: str) -> str:
    """Where something of a project is cached."""
    return f"project:{project_id}:{rest}"


def user_key(user_id: int, rest: str) -> str:
    """Where something of a user is cached."""
    return f"user:{user_id}:{rest}"


async def _wanted(session: AsyncSession) -> Iterable[int]:
    users = await active_users(session, ACTIVE_WITHIN)
    return await warm_order(session, users, PROJECTS_PER_USER)
