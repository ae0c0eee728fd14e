"""A shared connection to a primary, which knows its server's run and clock and confirms that it is one.

A server that is demoted keeps its clients, and answers them with what its successor has invalidated since. So
a refused write ends the connection, and a connection is used only while its server has lately said that it
is still the primary of the same replication. A server that cannot be identified counts as away.
"""

from __future__ import annotations

import time
from math import inf
from typing import Any

from redis.asyncio.connection import AbstractConnection

from stoker.redis.connection import ServerRun, SharedConnection, pack
from stoker.redis.errors import ConnectionLost, RedisAway
from stoker.redis.opening import Endpoint
from stoker.redis.run import field, mode_of, nonce_of, nonce_script, reign_of, replication_id, run_id, run_of
from stoker.redis.script import digest_of

SURE_S = 1.0
"""Seconds for which a server's confirmation that it is the primary counts. A server that was demoted but kept
its clients is read from for this long at most."""


SINGLE = "is a single server, and no cluster: leave ?cluster=true out of its URL"
SENTINEL = (
    "is a Sentinel: write redis+sentinel://host:26379/mymaster/0, with the name of the master that it watches"
)
CLUSTERED = "is a node of a cluster: add ?cluster=true to its URL, and name two or three of the nodes"


class PrimaryConnection(SharedConnection):
    """A connection to one run and one replication of a primary."""

    def __init__(
        self,
        opened: AbstractConnection,
        endpoint: Endpoint,
        server: ServerRun,
        reign: bytes,
        nonce: tuple[str, bytes] | None,
        *,
        timeout_s: float,
    ) -> None:
        """`reign`: as `reign_of` tells it."""
        super().__init__(opened, endpoint.name, timeout_s)
        self.server = server
        self.confirmed_s = time.monotonic()
        """When it was last known to lead to a primary, on the monotonic clock."""
        self._reign = reign
        self._nonce = nonce
        asked: list[tuple[Any, ...]] = [("INFO", "replication")]
        if endpoint.in_cluster:
            asked.append(("CLUSTER", "INFO"))
        self._told = len(asked)
        if nonce is not None:
            key, value = nonce
            asked += [("GET", key), ("SCRIPT", "EXISTS", digest_of(nonce_script(value)))]
        self.question = pack(asked), len(asked)
        """Asks whether it is still that primary; and the number of replies."""

    def doubt(self) -> None:
        """Ask before it is used again."""
        self.confirmed_s = -inf

    async def confirm(self) -> None:
        """Ask again; raises ConnectionLost, and is lost, when the server was demoted or restarted since."""
        asked_s = time.monotonic()
        try:
            self.confirmed(await self.send(*self.question), asked_s)
        except ConnectionLost as lost:
            self.end(lost)
            raise

    def confirmed(self, replies: list[Any], asked_s: float) -> None:
        """Take the replies to `question`; raises ConnectionLost as `confirm` does."""
        if not self._is_same(replies):
            raise ConnectionLost(f"{self._name} of this connection has been demoted or replaced since")
        self.confirmed_s = asked_s

    def _is_same(self, replies: list[Any]) -> bool:
        if any(isinstance(reply, Exception) for reply in replies):
            return False
        told, of_nonce = replies[: self._told], replies[self._told :]
        if field(told[0], b"role") != b"master" or reign_of(*told) != self._reign:
            return False
        return self._nonce is None or of_nonce == [self._nonce[1], [1]]


async def open_primary(
    connection: AbstractConnection, endpoint: Endpoint, nonce_key: str, timeout_s: float
) -> PrimaryConnection:
    """Learn the run and the clock of the server that redis-py has connected to, and share the connection."""

    async def ask(*command: object) -> Any:  # noqa: ANN401 - a reply
        await connection.send_command(*command)
        return await connection.read_response()

    info, about = await ask("INFO", "replication"), await ask("INFO", "server")
    if mode_of(about) == b"sentinel":
        raise RedisAway(f"{endpoint.name} {SENTINEL}")
    if field(info, b"role") != b"master":
        # A replica shows what its primary has invalidated until it hears of it: never read one (RACES 5).
        raise RedisAway(f"{endpoint.name} is not a primary; name the primary")
    told = [info]
    if (mode_of(about) == b"cluster") is not endpoint.in_cluster:
        raise RedisAway(f"{endpoint.name} {SINGLE if endpoint.in_cluster else CLUSTERED}")
    if endpoint.in_cluster:
        told.append(await ask("CLUSTER", "INFO"))
    reign, own = reign_of(*told), run_id(about)
    nonce = None
    if not own or not replication_id(info):
        nonce = nonce_key, await nonce_of(ask, nonce_key)
    run = run_of(own + (nonce[1] if nonce else b""), reign)
    seconds, micros = await ask("TIME")
    now_us = int(seconds) * 1_000_000 + int(micros)
    server = ServerRun(run, now_us - time.monotonic_ns() // 1000)
    return PrimaryConnection(connection, endpoint, server, reign, nonce, timeout_s=timeout_s)
