"""A pool of redis-py connections to the queue, without redis-py's own time limits: a call has one deadline.

redis-py limits every send with `asyncio.wait_for`, which up to Python 3.11 can swallow a cancellation (435 of
3,000 during a client's first command), so that a stop or a timeout around it never happens; it also costs a
task per command. Its check for unread bytes before each command costs a turn of the event loop.
"""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError  # noqa: A004 - redis-py's name

from stoker.redis.errors import RedisAway
from stoker.redis.sentinel import Search, options_of
from stoker.settings.topology import is_sentinel

LONGEST_CONNECT_S = 1
"""Short, so that callers are back soon after a host that swallowed packets."""


class _Pool(BlockingConnectionPool):
    closed = False
    search: Search | None = None

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, again if the server has closed the connection since it was last used."""
        reader = connection._reader  # noqa: SLF001 - redis-py has no cheaper way to ask
        if reader is not None and (reader.at_eof() or reader.exception() is not None):
            await connection.disconnect(nowait=True)
        # A connection whose call was cancelled was closed by redis-py: no reply is left unread (RACES 24).
        if self.search is None or connection.is_connected:
            await connection.connect()  # type: ignore[no-untyped-call]
        else:
            await self._connect_to_primary(connection, self.search)
        if self.closed:  # the client was closed while this call connected
            await connection.disconnect(nowait=True)
            raise ConnectionError("the client is closed")

    @staticmethod
    async def _connect_to_primary(connection: AbstractConnection, search: Search) -> None:
        try:
            vars(connection).update(await search.find())
            await connection.connect()  # type: ignore[no-untyped-call]
            await search.confirm(connection)
        except RedisAway as error:
            await connection.disconnect(nowait=True)
            raise ConnectionError(str(error)) from error


def queue_client(url: str, *, connections: int, wait_s: float, name: str = "the queue Redis") -> Redis:
    """A client of the queue Redis; a caller waits up to `wait_s` for a free connection. `name`: in errors."""
    connect_s = min(wait_s, LONGEST_CONNECT_S)
    pool = _Pool(
        max_connections=connections,
        timeout=wait_s,  # type: ignore[arg-type] # a wait, which may be shorter than a second
        socket_connect_timeout=connect_s,
        **options_of(url),
    )
    if is_sentinel(url):
        pool.search = Search(url, name, connect_s)
    return Redis(connection_pool=pool)


async def close_client(client: Redis) -> None:
    """Close every connection of a client, also one that a call is making."""
    if isinstance(client.connection_pool, _Pool):
        client.connection_pool.closed = True
    await client.aclose(close_connection_pool=True)
