"""Calls to the cache Redis: few shared connections, one deadline, every failure a CacheUnavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import NoScriptError, RedisError

from jobs.cache.connection import ConnectionLost, ServerRun, SharedConnection, open_connection, pack
from jobs.errors import CacheUnavailable

RUN = object()
"""Stands in a script's arguments for the run of the server that the script is sent to."""
BUSY_CALLS = 16
"""Outstanding calls on every connection from which on another one is opened."""


class Answer(NamedTuple):
    """Replies in the order of the commands; an error reply stands as its exception."""

    replies: list[Any]
    server: ServerRun

    def first(self) -> Any:  # noqa: ANN401 - whatever the command answers
        """The only reply; raises CacheUnavailable if it is an error: no answer either."""
        reply = self.replies[0]
        if isinstance(reply, Exception):
            raise CacheUnavailable(f"the cache Redis refused: {reply}") from reply
        return reply


class Script:
    """A Lua script by its digest, sent whole only to a server that does not know it."""

    def __init__(self, name: str) -> None:
        self.source = files("jobs.cache").joinpath("lua", name).read_text()
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], *arguments: object) -> tuple[Any, ...]:
        """The command that runs the script."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


class CacheClient:
    """Shared connections to one server. For one event loop."""

    def __init__(self, url: str, *, timeout_s: float, connections: int) -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._class: type[AbstractConnection] = self._options.pop("connection_class", Connection)
        self._timeout_s = timeout_s
        self._most = connections
        self._open: list[SharedConnection] = []
        self._opening: asyncio.Task[SharedConnection] | None = None
        self._scripts: dict[str, Script] = {}
        self._named: dict[str, Script] = {}

    def script(self, name: str) -> Script:
        """A script of jobs/cache/lua, loaded once."""
        if name not in self._named:
            script = self._named[name] = Script(name)
            self._scripts[script.digest] = script
        return self._named[name]

    async def call(self, *commands: tuple[Any, ...]) -> Answer:
        """Send commands in one packet and read their replies; raises CacheUnavailable.

        A call whose connection breaks is sent once more on a new one: every command here may run twice.
        """
        try:
            return await self._attempt(commands)
        except ConnectionLost:
            return await self._attempt(commands)

    async def ask(self, packed: bytes) -> Answer:
        """`call` for one command that was packed before."""
        try:
            connection = self._free() or await self._connect()
            return Answer(await connection.send(packed, 1), connection.server)
        except ConnectionLost:
            connection = self._free() or await self._connect()
            return Answer(await connection.send(packed, 1), connection.server)

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for connection in self._open:
            await connection.close()
        self._open.clear()

    async def _attempt(self, commands: Sequence[tuple[Any, ...]]) -> Answer:
        connection = self._free() or await self._connect()
        run = connection.server.run
        sent = [tuple(run if part is RUN else part for part in command) for command in commands]
        replies = await connection.send(pack(sent), len(sent))
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            digests = {str(sent[index][1]) for index in unknown}
            load = [("SCRIPT", "LOAD", self._scripts[digest].source) for digest in digests]
            again = await connection.send(
                pack([*load, *(sent[index] for index in unknown)]), len(load) + len(unknown)
            )
            for index, reply in zip(unknown, again[len(load) :], strict=True):
                replies[index] = reply
        return Answer(replies, connection.server)

    def _free(self) -> SharedConnection | None:
        """The least loaded connection, unless another one should be opened."""
        best: SharedConnection | None = None
        for connection in self._open:
            if not connection.lost and (best is None or connection.load < best.load):
                best = connection
        if best is not None and (best.load < BUSY_CALLS or len(self._open) >= self._most):
            return best
        return None

    async def _connect(self) -> SharedConnection:
        # One attempt at a time; whoever needs a connection meanwhile waits for the same one.
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open_one())
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    async def _open_one(self) -> SharedConnection:
        for lost in [connection for connection in self._open if connection.lost]:
            self._open.remove(lost)
            await lost.close()
        connection = self._class(**self._options)
        try:
            async with asyncio.timeout(self._timeout_s):
                shared = await open_connection(connection, self._timeout_s)
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            reason = str(error) or type(error).__name__
            raise CacheUnavailable(f"the cache Redis does not answer: {reason}") from error
        self._open.append(shared)
        return shared
