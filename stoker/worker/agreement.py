"""What processes of one installation must agree on: the cache that is invalidated, and the queue's owner.

For callers that have settings and no open Stoker. Raises CacheUnavailable, DatabaseUnavailable or
QueueUnavailable; migrations must be applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.cache.keys import KeySpace
from stoker.outbox.identity import CacheIdentity, forget_all
from stoker.postgres import engine_of, short_connection
from stoker.queue import owner
from stoker.redis.cluster import cache_client
from stoker.redis.queue import QueueConnection
from stoker.settings import Settings, require
from stoker.tables import installation


async def another_cache(settings: Settings, patience_s: float = 0) -> str | None:
    """Why changes would not reach the cache of these settings, by the workers' notes; None if they would.

    `patience_s`: how long to wait for the note of a server that was restarted or flushed.
    """
    async with _postgres(settings) as engine:
        keys = KeySpace(settings.cache.prefix, await _installation(engine))
        url = require(settings.cache_redis_url or settings.redis_url, "CACHE_REDIS_URL")
        client = cache_client(url, timeout_s=settings.cache.timeout_s, connections=1, nonce_key=keys.nonce)
        try:
            return await CacheIdentity(engine, client, keys.root, timedelta()).elsewhere(patience_s)
        finally:
            await client.close()


async def forget_caches(settings: Settings) -> None:
    """Forget the caches that were noted: the servers of these settings have just started, the cache empty."""
    async with _postgres(settings) as engine:
        await forget_all(engine)


async def another_queue(settings: Settings) -> str | None:
    """Why the queue of these settings is not ours; None if it is ours or has no owner."""
    async with _postgres(settings) as engine, _queue(settings) as queue:
        ours, theirs = await _installation(engine), await owner.owner(queue, settings.queue)
    return None if theirs in (None, ours) else owner.refused(settings.queue, str(theirs), ours)


async def take_queue(settings: Settings, *, of: str | None = None) -> bool:
    """Make the queue ours. `of`: only if it belongs to that installation. Returns whether it is ours now."""
    async with _postgres(settings) as engine, _queue(settings) as queue:
        ours = await _installation(engine)
        if of is None or await owner.owner(queue, settings.queue) in (None, of):
            await owner.take(queue, settings.queue, ours)
        return await owner.owner(queue, settings.queue) == ours


@asynccontextmanager
async def _postgres(settings: Settings) -> AsyncIterator[AsyncEngine]:
    limits = {
        "timeout": settings.database.connect_timeout_s,
        "command_timeout": settings.database.command_timeout_s,
    }
    engine = engine_of(
        require(settings.database_url, "DATABASE_URL"),
        connect_args=limits,
        schema=settings.database.schema_name,
    )
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def _queue(settings: Settings) -> AsyncIterator[QueueConnection]:
    queue = QueueConnection(require(settings.redis_url, "REDIS_URL"), settings.queue)
    try:
        yield queue
    finally:
        await queue.close()


async def _installation(engine: AsyncEngine) -> str:
    newest = select(installation.c.id).order_by(installation.c.created_at.desc()).limit(1)
    async with short_connection(engine) as connection:
        return str((await connection.execute(newest)).scalar_one())
