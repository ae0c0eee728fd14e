"""Names that redis-py, SQLAlchemy and asyncio keep to themselves and Stoker uses all the same.

A release of theirs that changes one of them fails here, by the library's name.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from sqlalchemy.ext.asyncio import create_async_engine

from stoker.redis.connection import SharedConnection
from stoker.redis.pool import queue_client

LIMIT_S = 5.0


async def test_redis_py_tells_through_its_reader_that_the_server_has_closed(queue_url: str) -> None:
    """`_reader`: else a command would be sent into a connection that is gone."""
    client = queue_client(queue_url, connections=1, wait_s=LIMIT_S)
    first = await client.client_id()
    [connection] = client.connection_pool._available_connections
    async with Redis.from_url(queue_url) as other, asyncio.timeout(LIMIT_S):
        await other.client_kill_filter(_id=str(first))
        while not connection._reader.at_eof():  # type: ignore[union-attr] # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert await client.client_id() != first
    await client.connection_pool.disconnect()


async def test_redis_py_lets_its_transport_be_taken_over(queue_url: str) -> None:
    """`_writer.transport`: what the server answers comes to the shared connection, not to redis-py."""
    client = queue_client(queue_url, connections=1, wait_s=LIMIT_S)
    opened: AbstractConnection = await client.connection_pool.get_connection()
    before: Any = opened._writer.transport.get_protocol()  # type: ignore[union-attr]
    assert isinstance(before, asyncio.StreamReaderProtocol)
    shared = SharedConnection(opened, "the queue Redis", LIMIT_S)
    assert await shared.send(b"PING\r\n", 1) == [b"PONG"]
    await shared.close()
    await client.connection_pool.disconnect()


async def test_sqlalchemy_names_the_connection_of_a_cursor(database_url: str) -> None:
    """`_connection` of asyncpg's cursor, in SQLAlchemy: by it a silent Postgres is noticed."""
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        raw: Any = await connection.get_raw_connection()
        cursor = raw.cursor()
        assert cursor._connection is raw.driver_connection
        cursor.close()
    await engine.dispose()


async def test_asyncio_forgets_a_task_that_is_left_behind() -> None:
    """`_unregister_task` and `_log_destroy_pending`: else asyncio.run would wait for it for ever."""
    task = asyncio.create_task(asyncio.Event().wait())
    assert task._log_destroy_pending is True  # type: ignore[attr-defined]
    asyncio.tasks._unregister_task(task)
    assert task not in asyncio.all_tasks()
    asyncio.tasks._register_task(task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
