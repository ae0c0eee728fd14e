"""Opening connections: by redis-py, within a time limit, one attempt at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.exceptions import RedisError

from stoker.errors import first_line
from stoker.redis.errors import RedisAway
from stoker.redis.sentinel import Search, options_of
from stoker.settings.topology import is_sentinel

T = TypeVar("T")


class Endpoint:
    """A server's address. redis-py does TLS, authentication and SELECT. `name` is used in error messages.

    `in_cluster`: the server must be a node of a cluster; any other must not be one.
    """

    def __init__(self, url: str, name: str, limit_s: float, *, in_cluster: bool = False) -> None:
        self.name = name
        self.in_cluster = in_cluster
        self._search = Search(url, name, limit_s) if is_sentinel(url) else None
        self._options = options_of(url)
        self._class: type[AbstractConnection] = self._options.pop("connection_class", Connection)
        self._limit_s = limit_s
        self.is_tls = issubclass(self._class, SSLConnection)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AbstractConnection]:
        """Connect. The block takes the connection over, within the same limit; it is closed if that fails.

        Raises RedisAway.
        """
        found = await self._search.find() if self._search is not None else {}
        connection = self._class(**{**self._options, **found})
        try:
            async with asyncio.timeout(self._limit_s):
                await connection.connect()  # type: ignore[no-untyped-call]
                if self._search is not None:
                    await self._search.confirm(connection)
                yield connection
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            await connection.disconnect(nowait=True)
            raise RedisAway(f"{self.name} does not answer: {first_line(error)}") from error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise


class OneAttempt(Generic[T]):
    """Runs one attempt at a time: callers that come meanwhile wait for its result.

    A caller that is cancelled does not cancel the attempt for the others.
    """

    def __init__(self, attempt: Callable[[], Awaitable[T]]) -> None:
        self._attempt = attempt
        self._task: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """The result of the attempt under way, or of a new one; raises RedisAway if `cancel` ends it."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        attempt = self._task
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if not attempt.cancelled() or (me is not None and me.cancelling()):
                raise
            # The caller was not cancelled: a job or a request must not end as if it was.
            raise RedisAway("the connections were closed while a call waited for one") from None

    async def cancel(self) -> None:
        """End the attempt under way; those who wait for it are told that by a RedisAway."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> T:
        return await self._attempt()
