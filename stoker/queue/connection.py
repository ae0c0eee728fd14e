"""One connection to the queue Redis that all calls of a process share.

A call costs a future instead of a connection of its own and a round of the event loop to look for unread
bytes. When Redis does not answer, callers see QueueUnavailable; a call whose connection broke is not sent
again here, because what was asked may have been done.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import NoScriptError

from stoker.cache.connection import ServerRun, SharedConnection, pack
from stoker.errors import CacheUnavailable, QueueUnavailable
from stoker.queue.client import LONGEST_CONNECT_S
from stoker.queue.script import Argument, Script, translated
from stoker.settings import QueueSettings

NAME = "the queue Redis"
_NO_RUN = ServerRun(b"", 0)
"""The queue has no stamps: nobody asks which run of the server it is."""


class QueueConnection:
    """The connection of one event loop; opened by the first call, and again after it was lost."""

    def __init__(self, url: str, settings: QueueSettings) -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._class: type[AbstractConnection] = self._options.pop("connection_class", Connection)
        self._prefix, self._timeout_s = settings.prefix, settings.timeout_s
        self._shared: SharedConnection | None = None
        self._opening: asyncio.Task[SharedConnection] | None = None

    async def call(self, script: Script, *arguments: Argument) -> Any:  # noqa: ANN401 - a reply
        """Run a script within `timeout_s`; raises QueueUnavailable."""
        sent = (0, self._prefix, *arguments)
        with translated():
            reply = await self._ask("EVALSHA", script.sha, *sent)
            if isinstance(reply, NoScriptError):
                reply = await self._ask("EVAL", script.source, *sent)
            if isinstance(reply, Exception):
                raise reply
            return reply

    async def command(self, *parts: Argument) -> Any:  # noqa: ANN401 - as above
        """Send a plain command within `timeout_s`; raises QueueUnavailable."""
        with translated():
            reply = await self._ask(*parts)
            if isinstance(reply, Exception):
                raise reply
            return reply

    def packed(self, script: Script, *arguments: Argument) -> bytes:
        """A script's call, for `post`."""
        return pack((("EVALSHA", script.sha, 0, self._prefix, *arguments),))

    def post(self, packed: bytes) -> asyncio.Future[list[Any]] | None:
        """Send a packed call without a task; None while there is no connection.

        The future gets one reply, which may be an error, or CacheUnavailable: then use `call`.
        """
        if self._shared is None or self._shared.lost:
            return None
        return self._shared.send(packed, 1)

    async def close(self) -> None:
        """Close it; calls under way fail."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close()

    async def _ask(self, *parts: Argument) -> Any:  # noqa: ANN401 - a reply, which may be an error
        shared = self._shared
        try:
            if shared is None or shared.lost:
                shared = await self._connect()
            [reply] = await shared.send(pack((parts,)), 1)
        except CacheUnavailable as error:  # how a shared connection says it, whatever server it is of
            raise QueueUnavailable(str(error)) from error
        return reply

    async def _connect(self) -> SharedConnection:
        # One attempt at a time; a caller that is cancelled cancels nobody else's.
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    async def _open(self) -> SharedConnection:
        if self._shared is not None:
            await self._shared.close()
        opened = self._class(**self._options)
        try:
            async with asyncio.timeout(min(self._timeout_s, LONGEST_CONNECT_S)):
                await opened.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await opened.disconnect(nowait=True)
            raise
        self._shared = SharedConnection(opened, _NO_RUN, self._timeout_s, NAME)
        return self._shared
