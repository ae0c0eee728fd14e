"""Connections to the cache Redis that know which run of the server they talk to.

redis-py's connections do TLS, authentication and parsing; this pool adds three things: the server's run id
and clock are learned when a connection opens, a call costs one deadline instead of one per step, and a
connection whose call was cancelled is dropped, so that nobody reads another caller's reply (RACES 24).

Every failure to get an answer is a CacheUnavailable.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from jobs.errors import CacheUnavailable

RUN_CHARACTERS = 16
RUN = object()
"""Stands in a command for the run of the server that the command is sent to."""


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One run of the server: `run` begins its stamps; `offset_us` turns this host's clock into its own."""

    run: bytes
    offset_us: int

    def now_us(self) -> int:
        """The server's time in microseconds."""
        return time.monotonic_ns() // 1000 + self.offset_us


@dataclass(frozen=True, slots=True)
class Answer:
    """Replies in the order of the commands; an error reply stands as its exception."""

    replies: list[Any]
    server: ServerRun

    def first(self) -> Any:  # noqa: ANN401 - whatever the command answers
        """The only reply; raises if it is an error."""
        reply = self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


class _IdleConnectionLost(CacheUnavailable):
    """A pooled connection had been closed: worth one more attempt."""


class Script:
    """A Lua script by its digest, sent whole only to a server that does not know it."""

    def __init__(self, name: str) -> None:
        self.source = files("jobs.cache").joinpath("lua", name).read_text()
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], *arguments: object) -> tuple[Any, ...]:
        """The command that runs the script."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


class CacheClient:
    """A pool of connections to one server. Safe for concurrent use within one event loop."""

    def __init__(self, url: str, *, timeout_s: float, connections: int) -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._class: type[AbstractConnection] = self._options.pop("connection_class", Connection)
        self._timeout_s = timeout_s
        self._idle: deque[tuple[AbstractConnection, ServerRun]] = deque()
        self._slots = asyncio.Semaphore(connections)
        self._scripts: dict[str, Script] = {}
        self._closed = False

    def script(self, name: str) -> Script:
        """Load a script of jobs/cache/lua."""
        script = Script(name)
        self._scripts[script.digest] = script
        return script

    async def call(self, *commands: tuple[Any, ...], timeout_s: float | None = None) -> Answer:
        """Send commands in one packet and read their replies; raises CacheUnavailable.

        A call that fails on a connection that had been idle is sent once more on a new one: every command
        here may run twice.
        """
        async with self._slots:
            try:
                return await self._attempt(commands, timeout_s or self._timeout_s)
            except _IdleConnectionLost:
                await self._drop_idle()  # the server went away: the others are dead too
            return await self._attempt(commands, timeout_s or self._timeout_s)

    async def close(self) -> None:
        """Close every idle connection; calls under way close theirs when they end."""
        self._closed = True
        await self._drop_idle()

    async def _attempt(self, commands: Sequence[tuple[Any, ...]], timeout_s: float) -> Answer:
        connection: AbstractConnection | None = None
        was_idle = bool(self._idle)
        try:
            async with asyncio.timeout(timeout_s):
                if was_idle:
                    connection, server = self._idle.pop()
                else:
                    connection = self._class(**self._options)
                    server = await self._connect(connection)
                sent = [tuple(server.run if part is RUN else part for part in one) for one in commands]
                answer = Answer(await self._exchange(connection, sent), server)
        except (RedisError, OSError, TimeoutError) as error:
            await _drop(connection)
            lost = was_idle and not isinstance(error, TimeoutError)
            kind = _IdleConnectionLost if lost else CacheUnavailable
            raise kind(f"the cache Redis does not answer: {_describe(error)}") from error
        except BaseException:
            # Cancelled with a reply still to come: the next caller must not receive it (RACES 24).
            await _drop(connection)
            raise
        if self._closed:
            await _drop(connection)
        else:
            self._idle.append((connection, server))
        return answer

    async def _connect(self, connection: AbstractConnection) -> ServerRun:
        await connection.connect()  # type: ignore[no-untyped-call]
        info, (seconds, micros) = await _exchange(connection, [("INFO", "server"), ("TIME",)])
        run = info.partition(b"run_id:")[2][:RUN_CHARACTERS]
        if len(run) != RUN_CHARACTERS:
            raise RedisConnectionError("INFO shows no run_id: stamps cannot be tied to the server's run")
        now_us = int(seconds) * 1_000_000 + int(micros)
        return ServerRun(run, now_us - time.monotonic_ns() // 1000)

    async def _exchange(
        self, connection: AbstractConnection, commands: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        replies = await _exchange(connection, commands)
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            digests = {commands[index][1] for index in unknown}
            await _exchange(connection, [("SCRIPT", "LOAD", self._scripts[d].source) for d in digests])
            again = await _exchange(connection, [commands[index] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return replies

    async def _drop_idle(self) -> None:
        while self._idle:
            await _drop(self._idle.pop()[0])


async def _exchange(connection: AbstractConnection, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    if len(commands) == 1:
        await connection.send_packed_command(connection.pack_command(*commands[0]), check_health=False)
    else:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


async def _drop(connection: AbstractConnection | None) -> None:
    if connection is not None:
        await connection.disconnect(nowait=True)


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__
