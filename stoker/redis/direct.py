"""A connection to the cache Redis that a thread uses itself, without its event loop.

The loop opens it, as all others, and then does not read it any more. One thread at a time sends a request and
waits for the reply. Whatever goes wrong, the connection is not used again: an unread reply must not reach the
next thread (RACES 24).
"""

from __future__ import annotations

import time
from typing import Any

import hiredis

from stoker.redis.connection import NOTHING, ServerRun, reply_error
from stoker.redis.errors import ConnectionLost, RedisAway
from stoker.redis.primary import SURE_S, PrimaryConnection

READ_BYTES = 65_536
FAILURES = (RedisAway, OSError, hiredis.ProtocolError)
"""What `ask` raises."""


class DirectConnection:
    """Requests of one thread at a time over a connection that the event loop has opened."""

    def __init__(self, lent: PrimaryConnection, timeout_s: float) -> None:
        self.lent = lent
        self._socket = lent.lend()
        self._socket.settimeout(timeout_s)
        self._parser = hiredis.Reader(notEnoughData=NOTHING, replyError=reply_error)

    @property
    def server(self) -> ServerRun:
        """The run of the server that it leads to."""
        return self.lent.server

    def ask(self, packed: bytes) -> Any:  # noqa: ANN401 - whatever the command answers
        """The reply to one command, an error as its exception; raises one of FAILURES."""
        if self.lent.lost:
            raise ConnectionLost("the connection was ended")
        if time.monotonic() >= self.lent.confirmed_s + SURE_S:  # a demoted server keeps its clients (RACES 5)
            asked_s = time.monotonic()
            self.lent.confirmed(self._replies(*self.lent.question), asked_s)
        return self._replies(packed, 1)[0]

    def close(self) -> None:
        """Close the thread's side of it."""
        self._socket.close()

    def _replies(self, packed: bytes, count: int) -> list[Any]:
        self._socket.sendall(packed)
        replies: list[Any] = []
        while len(replies) < count:
            reply = self._parser.gets()
            if reply is not NOTHING:
                replies.append(reply)
                continue
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise ConnectionLost("the server has closed the connection")
            self._parser.feed(data)
        return replies
