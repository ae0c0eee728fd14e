"""One connection to a Redis, shared by all callers of the process.

Commands are sent in the order of their calls and replies come back in that order, so a call costs a future
instead of a connection of its own, and calls of one turn of the event loop share a packet. A cancelled caller
keeps its place: its reply is read and dropped, never handed to the next caller (RACES 24). Raises RedisAway.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from stoker.redis.errors import ConnectionLost, RedisAway

LATE_S = 0.02
"""How long a busy process may leave a received reply unread."""
NOTHING = object()
DEMOTED = ("READONLY", "MASTERDOWN")
"""How a server that became a replica refuses; before Redis 7, a script's reply does not begin with it."""
_ERRORS: dict[str, type[ResponseError]] = {"NOSCRIPT": NoScriptError, "OOM": OutOfMemoryError}


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One run of a server: stamps begin with `run`; `offset_us` turns this host's clock into the server's."""

    run: bytes
    offset_us: int

    def now_us(self) -> int:
        """The server's time in microseconds."""
        return time.monotonic_ns() // 1000 + self.offset_us


class _Demoted(ConnectionLost):
    """The server is a replica by now."""


class _Call:
    """Replies of one call as they come in."""

    __slots__ = ("count", "deadline", "future", "replies")

    def __init__(self, count: int, deadline: float, future: asyncio.Future[list[Any]]) -> None:
        self.count = count
        self.deadline = deadline
        self.future = future
        self.replies: list[Any] = []


class SharedConnection(asyncio.Protocol):
    """Sends calls of many callers over one transport.

    A reply that does not come within `timeout_s` ends the connection: everything behind it would wait too.
    `name` says in error messages which server it is.
    """

    def __init__(self, opened: AbstractConnection, name: str, timeout_s: float) -> None:
        self.lost = False
        self._name = name
        self._opened = opened  # by redis-py, which did TLS, authentication and SELECT; closed with this one
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._parser = hiredis.Reader(notEnoughData=NOTHING, replyError=reply_error)
        self._calls: deque[_Call] = deque()
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._late: _Call | None = None
        # redis-py has no public way to its transport; asyncio's set_protocol is made for taking over.
        self._transport: asyncio.Transport = opened._writer.transport  # type: ignore[union-attr,assignment] # noqa: SLF001
        self._transport.set_protocol(self)

    @property
    def load(self) -> int:
        """Calls whose replies are outstanding."""
        return len(self._calls)

    def send(self, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send `count` commands; the future gets their replies, errors among them as exceptions."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost:
            future.set_exception(ConnectionLost(f"the connection to {self._name} is closed"))
            return future
        deadline = self._loop.time() + self._timeout_s
        if not self._calls:
            self._transport.write(packed)  # alone: no reason to wait for others
        else:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(packed)
        self._calls.append(_Call(count, deadline, future))
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._end_if_late)
        return future

    def lend(self) -> socket.socket:
        """Give the connection to a thread: nothing is read here from now on. For one that is not of TLS."""
        self._transport.pause_reading()
        lent: socket.socket = self._transport.get_extra_info("socket").dup()
        return lent

    async def close(self) -> None:
        """Close; outstanding calls fail."""
        self._end(ConnectionLost(f"the connection to {self._name} is closed"))
        await self._opened.disconnect(nowait=True)

    def end(self, error: RedisAway) -> None:
        """Close at once; outstanding calls fail with this error."""
        self._end(error)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that came in (asyncio's callback)."""
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not NOTHING:
                call = self._calls[0]
                call.replies.append(reply)
                if len(call.replies) == call.count:
                    self._calls.popleft()
                    if not call.future.done():
                        call.future.set_result(call.replies)
        except _Demoted as error:
            # REPLICAOF drops no client: this connection would be refused for ever.
            self.end(ConnectionLost(f"{self._name} refused: {error}"))
        except (hiredis.ProtocolError, IndexError) as error:
            self.end(ConnectionLost(f"{self._name} does not speak its protocol: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everybody who still waits (asyncio's callback)."""
        self._end(ConnectionLost(f"the connection to {self._name} was lost: {exc or 'closed by it'}"))

    def _flush(self) -> None:
        packets, self._unsent = self._unsent, []
        if not self.lost:
            self._transport.write(b"".join(packets))

    def _end_if_late(self) -> None:
        self._watch = None
        if not self._calls:
            return
        oldest = self._calls[0]
        if oldest.deadline > self._loop.time():
            self._watch = self._loop.call_at(oldest.deadline, self._end_if_late)
        elif oldest is not self._late:
            # This process may be late, not the server: let the loop read what has come in, then check again.
            self._late = oldest
            self._watch = self._loop.call_later(LATE_S, self._end_if_late)
        else:
            self.end(RedisAway(f"{self._name} did not answer within {self._timeout_s:g} s"))

    def _end(self, error: RedisAway) -> None:
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
        while self._calls:
            future = self._calls.popleft().future
            if not future.done():
                future.set_exception(error)


def pack(commands: Sequence[tuple[Any, ...]]) -> bytes:
    """Commands as Redis reads them."""
    if len(commands) == 1:
        packed: bytes = hiredis.pack_command(commands[0])
        return packed
    return b"".join([hiredis.pack_command(command) for command in commands])


def reply_error(message: str) -> ResponseError:
    """What a reply that is an error becomes; raises ConnectionLost if it says that the server was demoted."""
    if message.startswith(DEMOTED) or "-READONLY" in message:
        raise _Demoted(message)
    return _ERRORS.get(message.partition(" ")[0], ResponseError)(message)
