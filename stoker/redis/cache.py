"""Calls to the cache Redis: a few shared connections, one deadline, every failure a CacheUnavailable."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from stoker.errors import CacheUnavailable
from stoker.redis.connection import ServerRun, pack
from stoker.redis.direct import DirectConnection
from stoker.redis.errors import ConnectionLost, RedisAway
from stoker.redis.opening import Endpoint, OneAttempt
from stoker.redis.primary import SURE_S, PrimaryConnection, open_primary
from stoker.redis.script import by_digest, in_full

logger = logging.getLogger(__name__)

RUN = object()
"""Placeholder in a script's arguments for the run of the server that it is sent to."""
AWAY = "cache node away: "
"""Begins the text of a NodeAway."""
NAMED = re.compile(rf"{AWAY}(\S+):(?: |$)")
BUSY_CALLS = 16
"""When every connection has this many outstanding calls, another one is opened."""
OPEN_AGAIN_S = 1.0
"""Time after a failure to open another connection until the next attempt."""
NONCE_KEY = "stoker:run"
"""Default key for the nonce of a server that shows no run id."""


class NodeAway(CacheUnavailable):
    """A node of a cluster does not answer, or a slot of it is being moved. Keys of others are not affected.

    The text names the node: other processes read it from events that wait for it.
    """

    @classmethod
    def of(cls, node: str, reason: object) -> NodeAway:
        """`node`: its host and port."""
        return cls(f"{AWAY}{node}: {reason}")

    @classmethod
    def each(cls, errors: Iterable[NodeAway]) -> NodeAway:
        """One error in place of several."""
        return cls("; ".join(dict.fromkeys(map(str, errors))))


def nodes_named(text: str) -> list[str]:
    """The nodes that the text of a NodeAway names."""
    return NAMED.findall(text)


class Answer(NamedTuple):
    """Replies in the order of the commands; an error reply stands as its exception.

    `servers`: of each reply, where they come from several nodes of a cluster; a NodeAway stands for a reply
    of a node that is away.
    """

    replies: list[Any]
    server: ServerRun
    servers: Sequence[ServerRun] = ()

    def server_of(self, index: int) -> ServerRun:
        """The server that has answered a command."""
        return self.servers[index] if self.servers else self.server

    def first(self) -> Any:  # noqa: ANN401 - whatever the command answers
        """The only reply; raises CacheUnavailable if it is an error."""
        return self.all()[0]

    def all(self) -> list[Any]:
        """Every reply; raises CacheUnavailable if one is an error."""
        for reply in self.replies:
            if isinstance(reply, NodeAway):
                raise reply
            if isinstance(reply, Exception):
                raise CacheUnavailable(f"the cache Redis refused: {reply}") from reply
        return self.replies

    def known(self, missing: Any) -> list[Any]:  # noqa: ANN401 - as a reply
        """As `all`, with `missing` in place of what nodes have that are away."""
        there = [missing if isinstance(reply, NodeAway) else reply for reply in self.replies]
        return self._replace(replies=there).all()


class CacheClient:
    """Shared connections to one server. For one event loop. `cluster.py` has the same for a cluster."""

    is_cluster = False
    """Whether keys of different scopes may be on different servers."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        connections: int,
        nonce_key: str = NONCE_KEY,
        name: str = "the cache Redis",
        in_cluster: bool = False,
    ) -> None:
        """`name`: in errors. `in_cluster`: the server is one node of a cluster."""
        self._endpoint = Endpoint(url, name, timeout_s, in_cluster=in_cluster)
        self._timeout_s = timeout_s
        self._most = connections
        self._nonce_key = nonce_key
        self._open: list[PrimaryConnection] = []
        self._opening = OneAttempt(self._confirm_or_open)
        self._adding: asyncio.Task[None] | None = None
        self._add_after_s = 0.0
        self._lent: list[PrimaryConnection] = []
        self._closed = False

    async def ask(self, packed: bytes, key: str = "", count: int = 1) -> Answer:  # noqa: ARG002 - for a cluster
        """As `call`, for `count` commands that are already packed; `key` is one of theirs."""
        try:
            try:
                connection = self._free() or await self._connect()
                return Answer(await connection.send(packed, count), connection.server)
            except ConnectionLost:
                self.doubt()
                connection = self._free() or await self._connect()
                return Answer(await connection.send(packed, count), connection.server)
        except RedisAway as error:
            raise CacheUnavailable(str(error)) from error

    async def ask_each(self, asked: Sequence[tuple[bytes, str]]) -> Sequence[Answer | NodeAway]:
        """As `ask`, for many at the same time; a NodeAway stands for the answer of a node that is away."""
        return [await self.ask(*one) for one in asked]

    async def call(self, *commands: tuple[Any, ...]) -> Answer:
        """Send commands in one packet and read their replies; raises CacheUnavailable.

        A call whose connection breaks is sent once more on a new one: every command here may run twice.
        """
        try:
            try:
                return await self._attempt(commands)
            except ConnectionLost:
                self.doubt()
                return await self._attempt(commands)
        except RedisAway as error:
            raise CacheUnavailable(str(error)) from error

    async def lend(self) -> DirectConnection:
        """Another connection, for threads; raises CacheUnavailable."""
        await self._close_lost(self._lent)
        try:
            lent = await self._open_one(self._lent)
        except RedisAway as error:
            raise CacheUnavailable(str(error)) from error
        return DirectConnection(lent, self._timeout_s)

    @property
    def can_lend(self) -> bool:
        """Whether threads can use connections themselves: not those of TLS."""
        return not self._endpoint.is_tls

    async def server(self, key: str = "") -> ServerRun:  # noqa: ARG002 - for a cluster
        """The server that answers now, of this key, and its clock; raises CacheUnavailable."""
        try:
            return (self._free() or await self._connect()).server
        except RedisAway as error:
            raise CacheUnavailable(str(error)) from error

    async def run(self, *, asked: bool = False) -> str:
        """The run of the server, of a cluster the runs of all nodes that answer; raises CacheUnavailable.

        `asked`: confirmed by a call, and not by one that was made a moment ago.
        """
        if not asked:
            return (await self.server()).run.decode()
        answer = await self.call(("PING",))
        answer.first()
        return answer.server.run.decode()

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """The keys in groups that one UNLINK may name."""
        return [keys]

    async def primaries(self) -> Sequence[CacheClient]:
        """A client of each server that has keys of its own; raises CacheUnavailable."""
        return [self]

    async def layout(self) -> object:
        """Which primary has which keys: equal to an earlier one if no key was moved in between.

        None while some are being moved. Raises CacheUnavailable.
        """
        return ()

    @property
    def away(self) -> Mapping[str, str]:
        """The nodes of a cluster that are not used, by host and port, and why."""
        return {}

    def standing(self) -> Sequence[tuple[str, int, str | None]]:
        """The primaries of a cluster: host and port, number of slots, and why it is not used, if so."""
        return ()

    def clients(self) -> Mapping[str, CacheClient]:
        """Those of the same primaries, by host and port."""
        return {}

    async def returning(self) -> Sequence[str]:
        """The nodes of a cluster that are not used, but answer again."""
        return ()

    def hold(self, node: str, reason: str) -> None:
        """Do not use a node of a cluster until `use`."""

    def use(self, node: str) -> None:
        """Use a node again that was away."""

    def doubt(self) -> None:
        """Every connection must confirm its primary before it is used again."""
        for connection in (*self._open, *self._lent):
            connection.doubt()

    async def close(self) -> None:
        """Close every connection; calls under way fail, and none is opened afterwards."""
        self._closed = True
        try:
            await self._opening.cancel()
            if self._adding is not None:
                self._adding.cancel()
                await asyncio.gather(self._adding, return_exceptions=True)
        finally:  # also if the caller is cancelled meanwhile
            for connection in (*self._open, *self._lent):
                await connection.close()
            self._open.clear()
            self._lent.clear()

    def _free(self) -> PrimaryConnection | None:
        """The least loaded connection; None if its server must first confirm that it is the primary."""
        best = self._least_loaded()
        if best is None or time.monotonic() >= best.confirmed_s + SURE_S:
            return None
        if best.load >= BUSY_CALLS:
            self._add()
        return best

    def _least_loaded(self) -> PrimaryConnection | None:
        best: PrimaryConnection | None = None
        for connection in self._open:
            if not connection.lost and (best is None or connection.load < best.load):
                best = connection
        return best

    async def _attempt(self, commands: Sequence[tuple[Any, ...]]) -> Answer:
        connection = self._free() or await self._connect()
        run = connection.server.run
        sent = [tuple(run if part is RUN else part for part in command) for command in commands]
        replies = await connection.send(pack([by_digest(command) for command in sent]), len(sent))
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = await connection.send(pack([in_full(sent[index]) for index in unknown]), len(unknown))
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return Answer(replies, connection.server)

    def _add(self) -> None:
        """Open another connection for later callers: nobody waits for it, and it may fail."""
        adding = self._adding is not None and not self._adding.done()
        if not adding and len(self._open) < self._most and time.monotonic() >= self._add_after_s:
            self._adding = asyncio.create_task(self._open_another())

    async def _connect(self) -> PrimaryConnection:
        if self._closed:
            raise RedisAway("this process has closed its connections to the cache Redis")
        return await self._opening.result()

    async def _confirm_or_open(self) -> PrimaryConnection:
        await self._close_lost(self._open)
        asked = await asyncio.gather(*(one.confirm() for one in self._open), return_exceptions=True)
        best = self._least_loaded()
        if best is not None:
            return best
        for error in asked:
            if isinstance(error, RedisAway) and not isinstance(error, ConnectionLost):
                raise error  # it does not answer, and a new connection would not either: do not wait twice
        return await self._open_one(self._open)

    @staticmethod
    async def _close_lost(connections: list[PrimaryConnection]) -> None:
        for lost in [connection for connection in connections if connection.lost]:
            connections.remove(lost)
            await lost.close()

    async def _open_another(self) -> None:
        try:
            await self._open_one(self._open)
        except RedisAway as error:
            self._add_after_s = time.monotonic() + OPEN_AGAIN_S
            logger.info("cache.connection_refused", extra={"error": str(error)})

    async def _open_one(self, among: list[PrimaryConnection]) -> PrimaryConnection:
        async with self._endpoint.opened() as connection:
            shared = await open_primary(connection, self._endpoint, self._nonce_key, self._timeout_s)
            if self._closed:  # while it was opened: nobody else would close it
                raise RedisAway("this process has closed its connections to the cache Redis")
        for other in (*self._open, *self._lent):
            if other.server.run != shared.server.run:
                # The address leads to another server by now. The old one may go on as if it were the primary.
                other.end(ConnectionLost("another server has taken the place of this connection's"))
        among.append(shared)
        return shared
