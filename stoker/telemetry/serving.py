"""Serving HTTP with a bounded number of connections: the API's server, and the worker's own endpoint.

A connection must send the head of each request within a deadline. Once all places are taken, further
connections get 503 and are closed, except for probes, which a few spare places are kept for. The limit stays
below the number of files that this process may open, so that accepting never fails for want of one.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that are answered while all places are taken."""
SPARE = 128
"""Connections beyond the limit that may wait for their first request; one more closes the oldest of them."""
SPARE_HEAD_S = 2.0
"""Seconds that such a connection has for the head of its request."""
ACCEPTED_AT_ONCE = 32
"""Connections accepted in one turn of the event loop: a probe is read before SPARE others came after it."""
BACKLOG = 2048
"""Connections that the kernel keeps until they are accepted."""
OTHER_FILES = 256
"""Files of this process that are no HTTP connections: pools, servers' sockets, logs."""
STALLED_MS = 30_000
"""Milliseconds after which the kernel drops a peer that acknowledges nothing of what it was sent."""
TOLD_EVERY_S = 10.0
"""Seconds between two log lines that say the same."""
FULL = b'{"error":"too_many_connections","message":"all connections of this process are in use; try again"}'


class Places:
    """The connections that one server holds, and how many it may."""

    def __init__(self, most: int, head_s: float) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - SPARE - OTHER_FILES))
        self.head_s = head_s
        self._held: set[Connection] = set()
        self._spare: dict[Connection, None] = {}  # the oldest first
        self._refused = 0
        self._tell_at = 0.0

    def enter(self, connection: Connection) -> bool:
        """Take a place; False if only a spare one was left."""
        if len(self._held) < self.most:
            self._held.add(connection)
            return True
        if len(self._spare) >= SPARE:
            oldest = next(iter(self._spare))
            del self._spare[oldest]
            oldest.transport.abort()
        self._spare[connection] = None
        self._tell()
        return False

    def leave(self, connection: Connection) -> None:
        """Give the place back."""
        self._held.discard(connection)
        self._spare.pop(connection, None)

    def _tell(self) -> None:
        self._refused += 1
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TOLD_EVERY_S
            log.warning("http.connections_full", extra={"places": self.most, "refused": self._refused})


class Connection(H11Protocol):
    """A connection that has a place, and a deadline for the head of each request."""

    def __init__(self, *, places: Places, **given: Any) -> None:  # noqa: ANN401 - uvicorn's own arguments
        super().__init__(**given)
        self._places = places
        self._head_s = places.head_s
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, and begin to wait for a request."""
        super().connection_made(transport)
        if not self._places.enter(self):
            self._head_s = SPARE_HEAD_S
            self.app = _probes_only(self.app)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._places.leave(self)
        self._forget_deadline()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read what has arrived; a client that has not sent a whole head may do so until the deadline."""
        super().handle_events()
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        else:
            self._forget_deadline()

    def _expect_head(self) -> None:
        if self._deadline is None:  # single bytes do not postpone the deadline
            self._deadline = self.loop.call_later(self._head_s, self._too_late)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn without signal handlers: the caller decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to others."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; asyncio has shortened the kernel's queue to what it accepts at once."""
        await super().startup(sockets)
        for taken in sockets or ():
            taken.listen(BACKLOG)


def server(app: ASGIApp, places: Places, **given: Any) -> Server:  # noqa: ANN401 - options of uvicorn
    """A server of an application; `given` are further options of uvicorn."""
    quiet: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False}
    config = uvicorn.Config(app, lifespan="off", ws="none", backlog=ACCEPTED_AT_ONCE, **quiet, **given)
    config.load()
    config.http_protocol_class = lambda **own: Connection(places=places, **own)  # type: ignore[assignment]
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, Seldom) for one in logger.filters):
            logger.addFilter(Seldom())
    return Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; connections get its options. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # As TCP by name, else asyncio leaves Nagle's algorithm on: 40 ms more for answers on a kept connection.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
        taken.bind((host, port))
        taken.listen(BACKLOG)
    except OSError:
        taken.close()
        raise
    return taken


class Seldom(logging.Filter):
    """Lets a message through once every TOLD_EVERY_S, saying how many like it were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        what, now = str(record.msg)[:64], time.monotonic()
        at, left_out = self._next.get(what, (0.0, 0))
        if now < at:
            self._next[what] = (at, left_out + 1)
            return False
        if len(self._next) > 100:  # noqa: PLR2004 - messages that hold a number or an address
            self._next.clear()
        self._next[what] = (now + TOLD_EVERY_S, 0)
        if left_out:
            record.left_out = left_out
        return True


def _probes_only(app: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"1"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(FULL)).encode()))
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": FULL})

    return answer
