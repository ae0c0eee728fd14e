"""What Stoker needs of its driver, asyncpg: connections that end in bounded time and hold no locks for ever.

Every transaction begins with its limits: SET LOCAL in the packet of its BEGIN. That costs no round trip, and
a pooler in transaction mode neither refuses it nor hands it to the next client. Through a pooler statements
have no names, because the next transaction may run on another connection to Postgres. A replica is refused by
each connection: loaders may read nothing older than what was applied. Sockets have
keepalives, so that a peer that vanished is noticed. Closing an engine leaves no connection open, even if it
is in use.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import WeakSet

import asyncpg
from asyncpg import connect_utils
from asyncpg.exceptions import InterfaceError, PostgresError, TargetServerAttributeNotMatched
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import tracing
from stoker.errors import DatabaseUnavailable
from stoker.silence import Silence

GOODBYE_S = 1.0
"""Seconds for a connection to close in order; then its socket is closed at once."""
KEEPALIVES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe, seconds between probes, lost probes that end a connection."""
UNACKNOWLEDGED_MS = 15_000
"""How long sent data may stay without the peer's acknowledgement."""
NAMES = "statement_cache_size"
"""asyncpg's argument, an option of the URL: with 0, each use of a statement sends its text without a name."""
REPLICA = (
    "Postgres is a replica: it takes no writes, and what a loader reads there may be older than a change "
    "that was applied. Let DATABASE_URL lead to the primary; with several hosts, add "
    "target_session_attrs=read-write"
)


class Connections:
    """The open connections of one engine, and what all of them share."""

    def __init__(self, silence: Silence | None, local: Mapping[str, str]) -> None:
        """`local`: Postgres settings of every transaction."""
        self.silence = silence or Silence(float("inf"))
        self.local = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in local.items())
        self.open: WeakSet[Connection] = WeakSet()
        self.closed = False
        self.pooled = False
        """Whether a pooler was found on the way to Postgres. Nobody looks where the URL says NAMES."""
        self._driver_class = type("Connection", (Connection,), {"shared": self})

    async def connect(self, **arguments: Any) -> Connection:  # noqa: ANN401 - asyncpg's
        """Open a connection; raises DatabaseUnavailable after `close`, and what asyncpg raises."""
        if self.closed:  # nobody would close it
            raise DatabaseUnavailable("this process has closed its connections to Postgres")
        self.silence.refuse()
        async with asyncio.timeout(None) as limit:
            with self.silence.waiting(Attempt(limit)):
                return await self._opened(arguments)

    async def _opened(self, arguments: Mapping[str, Any]) -> Connection:
        if NAMES in arguments:  # nobody asks whether there is a pooler
            return await self._connected(**arguments)
        if not self.pooled:
            opened = await self._connected(**arguments)
            try:
                self.pooled = not await opened.is_direct(arguments.get("timeout"))
            except BaseException:
                opened.terminate()
                raise
            if not self.pooled:
                return opened
            await opened.close()
        return await self._connected(**arguments, **{NAMES: 0})

    async def _connected(self, **arguments: Any) -> Connection:  # noqa: ANN401 - asyncpg's
        try:
            opened: Connection = await asyncpg.connect(**arguments, connection_class=self._driver_class)
        except TargetServerAttributeNotMatched as error:
            raise DatabaseUnavailable(f"no Postgres that DATABASE_URL names can be used: {error}") from error
        try:
            await opened.refuse_replica(arguments.get("timeout"))
        except BaseException:
            opened.terminate()
            raise
        return opened


class Attempt:
    """A connection that is being opened."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit

    def terminate(self) -> None:
        """Give it up."""
        self._limit.reschedule(asyncio.get_running_loop().time())


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection of one engine."""

    shared: ClassVar[Connections]

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:  # noqa: ANN401 - asyncpg's own
        super().__init__(protocol, transport, *rest)
        keep_alive(transport.get_extra_info("socket"))
        self.shared.open.add(self)

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a statement; a transaction that begins gets its limits with it."""
        if query.startswith("BEGIN"):
            query = query.rstrip(";") + self.shared.local + _traced()
        with self.shared.silence.waiting(self):
            done: str = await super().execute(query, *args, timeout=timeout)
            return done

    async def is_direct(self, limit_s: float | None) -> bool:
        """Whether Postgres itself accepted this connection: a pooler invents the process id that it sends.

        Asked without a prepared statement: the tag of the answer counts its rows.
        """
        asked = f"SELECT WHERE pg_backend_pid() = {self.get_server_pid()}"
        return await self.execute(asked, timeout=limit_s) == "SELECT 1"

    async def refuse_replica(self, limit_s: float | None) -> None:
        """Raise DatabaseUnavailable where the server follows another one.

        Postgres tells that by itself; a pooler does not pass it on.
        """
        told = getattr(self.get_settings(), "in_hot_standby", None)
        if told is None:
            asked = await self.execute("SELECT WHERE pg_is_in_recovery()", timeout=limit_s)
            told = "on" if asked == "SELECT 1" else "off"
        if told == "on":
            raise DatabaseUnavailable(REPLICA)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Close, in GOODBYE_S at most: a server that is silent would be waited for without end."""
        try:
            await super().close(timeout=min(timeout or GOODBYE_S, GOODBYE_S))
        except (OSError, PostgresError, InterfaceError):
            self.terminate()


def _traced() -> str:
    """Lets triggers know the trace that a transaction belongs to."""
    trace = tracing.current()
    return "" if trace is None else f"; SET LOCAL stoker.trace = '{trace}'"


class QuietUpgrade(connect_utils.TLSUpgradeProto):  # type: ignore[misc] # the same
    """asyncpg's question whether the server talks TLS, for a connection that nobody waits for any more.

    asyncpg hands the loss of such a connection to a future without a reader, and asyncio then logs "Future
    exception was never retrieved" for each connect or cancel request that was given up at that point.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand the loss over, and count it as read."""
        super().connection_lost(exc)
        if not self.on_data.cancelled():
            self.on_data.exception()


connect_utils.TLSUpgradeProto = QuietUpgrade


class LimitedEngine(AsyncEngine):
    """An engine whose connections are all known, and whose `dispose` takes GOODBYE_S at most."""

    def __init__(self, engine: AsyncEngine, connections: Connections, arguments: Mapping[str, Any]) -> None:
        """`arguments`: what asyncpg's `connect` is given beside the URL."""
        super().__init__(engine.sync_engine)
        self.connections = connections
        self.arguments = dict(arguments)

    async def dispose(self, close: bool = True) -> None:  # noqa: FBT001, FBT002 - SQLAlchemy's
        """Close every connection, those in use as well."""
        left = list(self.connections.open)
        try:
            if close and left:
                await asyncio.wait([asyncio.create_task(one.close()) for one in left])
            await super().dispose(close)
        finally:
            if close:
                for one in list(self.connections.open):
                    one.terminate()


async def close_for_good(engine: AsyncEngine) -> None:
    """Dispose of an engine. A task that still uses it afterwards cannot open connections."""
    if isinstance(engine, LimitedEngine):
        engine.connections.closed = True
    await engine.dispose()


def keep_alive(connected: socket.socket) -> None:
    """Let the kernel notice that the peer vanished; a connection of this host needs none of it."""
    if connected.family == getattr(socket, "AF_UNIX", None):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {**KEEPALIVES, "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS}.items():
        if hasattr(socket, name):  # not on every system
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
