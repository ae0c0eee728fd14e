"""Calls to the queue Redis: one shared connection, one deadline, every failure a QueueUnavailable.

A call whose connection broke is not sent again: what was asked may have been done. Scripts take the queue's
prefix as their first argument and no KEYS: a queue is never a Cluster.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import redis as sync_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from stoker.errors import QueueUnavailable, first_line
from stoker.redis.connection import SharedConnection, pack
from stoker.redis.errors import RedisAway
from stoker.redis.opening import Endpoint, OneAttempt
from stoker.redis.pool import LONGEST_CONNECT_S
from stoker.redis.primary import SENTINEL
from stoker.redis.script import Command, Script, by_digest, in_full
from stoker.settings import QueueSettings

Argument = str | bytes | int
REFUSAL = re.compile(
    # Redis before 7 wraps the error of a command inside a script.
    r"(?:^|: -)(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|READONLY|TRYAGAIN"
    # UNBLOCKED: the server became a replica. WRONGTYPE: somebody stored a value of another type under a key.
    r"|UNBLOCKED|WRONGTYPE) "
    # A right that a script would need, as Redis 7.0 says it, and as later ones and Valkey do.
    r"|^(?:ERR )?(?:The user executing the script can't|ACL failure in script)"
)
"""Errors of a Redis that cannot do it now, or is not allowed to; the call itself is right."""
OF_A_NODE = re.compile(r"(?:^|: -)(?:MOVED|ASK|CROSSSLOT) |non local key in a cluster node")
NODE = (
    "is a node of a cluster: name a single server, because the scripts of the queue change many keys at once"
)


class QueueConnection:
    """The connection of one event loop; opened by the first call, and again after it was lost.

    `blocks_s`: how long a command may block, beside the time that its answer takes.
    """

    def __init__(self, url: str, settings: QueueSettings, blocks_s: float = 0) -> None:
        self._endpoint = Endpoint(url, "the queue Redis", min(settings.timeout_s, LONGEST_CONNECT_S))
        self._prefix, self._timeout_s = settings.prefix, settings.timeout_s + blocks_s
        self._shared: SharedConnection | None = None
        self.opened = 0
        """How often it was opened: another server answers only after it was opened again, or was demoted."""
        self._opening = OneAttempt(self._open)
        self._closed = False

    async def call(self, script: Script, *arguments: Argument) -> Any:  # noqa: ANN401 - a reply
        """Run a script within `timeout_s`; raises QueueUnavailable."""
        asked = script.call((), self._prefix, *arguments)
        with translated():
            reply = await self._ask(by_digest(asked))
            if isinstance(reply, NoScriptError):
                reply = await self._ask(in_full(asked))
            if isinstance(reply, Exception):
                raise reply
            return reply

    async def command(self, *parts: Argument) -> Any:  # noqa: ANN401 - as above
        """Send a plain command within `timeout_s`; raises QueueUnavailable."""
        with translated():
            reply = await self._ask(parts)
            if isinstance(reply, Exception):
                raise reply
            return reply

    def packed(self, script: Script, *arguments: Argument) -> bytes:
        """A script's call, for `post`."""
        return pack([by_digest(script.call((), self._prefix, *arguments))])

    def post(self, packed: bytes, calls: int) -> asyncio.Future[list[Any]] | None:
        """Send packed calls without a task; None while there is no connection.

        The future gets the reply of each, which may be an error, or RedisAway: then use `call`.
        """
        if self._shared is None or self._shared.lost:
            return None
        return self._shared.send(packed, calls)

    async def close(self) -> None:
        """Close it; calls under way fail, and none opens another one afterwards."""
        self._closed = True
        await self._opening.cancel()
        if self._shared is not None:
            await self._shared.close()

    async def _ask(self, command: Command) -> Any:  # noqa: ANN401 - a reply, which may be an error
        shared = self._shared
        if self._closed:
            raise RedisAway("the connection to the queue Redis is closed")
        if shared is None or shared.lost:
            shared = await self._opening.result()
        [reply] = await shared.send(pack([command]), 1)
        return reply

    async def _open(self) -> SharedConnection:
        if self._shared is not None:
            await self._shared.close()
        async with self._endpoint.opened() as connection:
            self._shared = SharedConnection(connection, self._endpoint.name, self._timeout_s)
            self.opened += 1
        return self._shared


def call_blocking(redis: sync_redis.Redis, script: Script, *arguments: Argument) -> Any:  # noqa: ANN401 - a reply
    """Run a script on a client that blocks, within that client's own time limits; raises QueueUnavailable."""
    client: Any = redis
    asked = script.call((), *arguments)
    with translated():
        try:
            return client.execute_command(*by_digest(asked))
        except NoScriptError:
            return client.execute_command(*in_full(asked))


@asynccontextmanager
async def answering(within_s: float) -> AsyncIterator[None]:
    """Limit the time of calls, and translate what they raise into QueueUnavailable."""
    with translated():
        async with asyncio.timeout(within_s):
            yield


@contextmanager
def translated() -> Iterator[None]:
    """Translate errors of a Redis that is away or refuses into QueueUnavailable."""
    try:
        yield
    except RedisAway as error:
        raise QueueUnavailable(str(error)) from error
    except OutOfMemoryError as error:
        raise QueueUnavailable(
            "the queue Redis is full (maxmemory): raise its memory; what is queued still runs"
        ) from error
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:  # TimeoutError is an OSError
        raise QueueUnavailable(f"the queue Redis does not answer: {first_line(error)}") from error
    except ResponseError as error:
        # redis-py has removed the first word of these two.
        if isinstance(error, ReadOnlyError | NoPermissionError) or REFUSAL.search(str(error)):
            raise QueueUnavailable(f"the queue Redis refuses: {error}") from error
        if OF_A_NODE.search(str(error)):
            raise QueueUnavailable(f"the queue Redis {NODE}") from error
        if str(error).removeprefix("ERR ").startswith("unknown command 'EVALSHA'"):
            raise QueueUnavailable(f"the queue Redis runs no scripts; probably it {SENTINEL}") from error
        raise
