"""Calls to the cache Redis: few shared connections, one deadline, every failure a CacheUnavailable."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import NoScriptError, RedisError

from stoker.cache.connection import ConnectionLost, ServerRun, pack
from stoker.cache.primary import PrimaryConnection, open_connection
from stoker.errors import CacheUnavailable

logger = logging.getLogger(__name__)

RUN = object()
"""Stands in a script's arguments for the run of the server that the script is sent to."""
BUSY_CALLS = 16
"""Outstanding calls on every connection from which on another one is opened."""
OPEN_AGAIN_S = 1.0
"""For how long another one that could not be opened is not tried again: those that there are will do."""


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

    def all(self) -> list[Any]:
        """Every reply; raises CacheUnavailable if one is an error."""
        for reply in self.replies:
            if isinstance(reply, Exception):
                raise CacheUnavailable(f"the cache Redis refused: {reply}") from reply
        return self.replies


class Script:
    """A Lua script by its digest, sent whole only to a server that does not know it."""

    def __init__(self, name: str) -> None:
        self.source = files("stoker.cache").joinpath("lua", name).read_text()
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
        self._open: list[PrimaryConnection] = []
        self._opening: asyncio.Task[PrimaryConnection] | None = None
        self._adding: asyncio.Task[None] | None = None
        self._add_after_s = 0.0
        self._closed = False
        self._scripts: dict[str, Script] = {}
        self._named: dict[str, Script] = {}

    def script(self, name: str) -> Script:
        """A script of stoker/cache/lua, loaded once."""
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
            self._doubt()
            return await self._attempt(commands)

    async def ask(self, packed: bytes) -> Answer:
        """`call` for one command that was packed before."""
        try:
            connection = self._free() or await self._connect()
            return Answer(await connection.send(packed, 1), connection.server)
        except ConnectionLost:
            self._doubt()
            connection = self._free() or await self._connect()
            return Answer(await connection.send(packed, 1), connection.server)

    async def server(self) -> ServerRun:
        """The server that answers now, and its clock; raises CacheUnavailable."""
        return (self._free() or await self._connect()).server

    async def close(self) -> None:
        """Close every connection; calls under way fail, and none is opened afterwards."""
        self._closed = True
        for opening in (self._opening, self._adding):
            if opening is not None:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
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

    def _free(self) -> PrimaryConnection | None:
        """The least loaded connection, unless its server must be asked first whether it is the primary."""
        best = self._least_loaded()
        if best is None or not best.sure:
            return None
        if best.load >= BUSY_CALLS:
            self._add()
        return best

    def _doubt(self) -> None:
        """One connection is lost: what ended it may have ended the others' server as a primary."""
        for connection in self._open:
            connection.doubt()

    def _least_loaded(self) -> PrimaryConnection | None:
        best: PrimaryConnection | None = None
        for connection in self._open:
            if not connection.lost and (best is None or connection.load < best.load):
                best = connection
        return best

    def _add(self) -> None:
        """Open another connection, for whom comes later: nobody waits for it, and it may fail."""
        adding = self._adding is not None and not self._adding.done()
        if not adding and len(self._open) < self._most and time.monotonic() >= self._add_after_s:
            self._adding = asyncio.create_task(self._open_another())

    async def _connect(self) -> PrimaryConnection:
        if self._closed:
            raise CacheUnavailable("this process has closed its connections to the cache Redis")
        # One attempt at a time; whoever needs a connection meanwhile waits for the same one.
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._confirm_or_open())
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    async def _confirm_or_open(self) -> PrimaryConnection:
        for lost in [connection for connection in self._open if connection.lost]:
            self._open.remove(lost)
            await lost.close()
        asked = await asyncio.gather(*(one.confirm() for one in self._open), return_exceptions=True)
        best = self._least_loaded()
        if best is not None:
            return best
        for error in asked:
            if isinstance(error, CacheUnavailable) and not isinstance(error, ConnectionLost):
                raise error  # it was silent: a new connection would be, and everybody would wait twice
        return await self._open_one()

    async def _open_another(self) -> None:
        try:
            await self._open_one()
        except CacheUnavailable as error:
            self._add_after_s = time.monotonic() + OPEN_AGAIN_S
            logger.info("cache.connection_refused", extra={"error": str(error)})

    async def _open_one(self) -> PrimaryConnection:
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
