"""A shared connection to the primary of the cache, and how it stays sure that it is still one.

A server that is demoted keeps its clients, and answers them with what its successor has long invalidated. So
a refused write ends a connection, and a connection is used only while its server has lately said that it is
the primary of the same replication. A server that cannot say which it is counts as away.
"""

from __future__ import annotations

import time
from hashlib import blake2b
from math import inf
from typing import Any

from redis.asyncio.connection import AbstractConnection

from stoker.cache.connection import ConnectionLost, ServerRun, SharedConnection, pack
from stoker.errors import CacheUnavailable

RUN_CHARACTERS = 16
SURE_S = 1.0
"""For how long the answer holds that a server is the primary: the longest that one which was demoted, but
did not drop its clients, is still read from."""
ID_CHARACTERS = 40
_REPLICATION = pack([("INFO", "replication")])


class PrimaryConnection(SharedConnection):
    """To one run and one replication of a primary."""

    def __init__(
        self, opened: AbstractConnection, server: ServerRun, replication: bytes, *, timeout_s: float
    ) -> None:
        super().__init__(opened, server, timeout_s)
        self._replication = replication
        self._asked_s = time.monotonic()

    @property
    def sure(self) -> bool:
        """Whether it may be used without asking."""
        return not self.lost and time.monotonic() < self._asked_s + SURE_S

    def doubt(self) -> None:
        """Ask before it is used again."""
        self._asked_s = -inf

    async def confirm(self) -> None:
        """Ask again; raises ConnectionLost, and is lost, when the server has been demoted since."""
        asked_s = time.monotonic()
        [info] = await self.send(_REPLICATION, 1)
        if isinstance(info, Exception) or not self._is_primary(info):
            lost = ConnectionLost("the cache Redis of this connection has been demoted since")
            self.end(lost)
            raise lost
        self._asked_s = asked_s

    def _is_primary(self, info: bytes) -> bool:
        return b"role:master" in info and b"master_replid:" + self._replication in info


async def open_connection(connection: AbstractConnection, timeout_s: float) -> PrimaryConnection:
    """Connect with redis-py, learn the server's run and clock, and share the connection."""
    await connection.connect()  # type: ignore[no-untyped-call]
    try:
        run_id = _field(await _ask(connection, "INFO", "server"), b"run_id")
        replication = _replication_of(await _ask(connection, "INFO", "replication"))
        seconds, micros = await _ask(connection, "TIME")
        now_us = int(seconds) * 1_000_000 + int(micros)
        server = ServerRun(_run_of(run_id, replication), now_us - time.monotonic_ns() // 1000)
        return PrimaryConnection(connection, server, replication, timeout_s=timeout_s)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


async def _ask(connection: AbstractConnection, *command: str) -> Any:  # noqa: ANN401 - a reply
    await connection.send_command(*command)
    return await connection.read_response()


def _replication_of(info: bytes) -> bytes:
    if b"role:master" not in info:
        # A replica shows what its primary has invalidated until it hears of it: never read one (RACES 5).
        raise CacheUnavailable("the cache Redis is a replica; name the primary")
    return _field(info, b"master_replid")


def _run_of(run_id: bytes, replication: bytes) -> bytes:
    """What begins a server's stamps: the same in one run of it, until it is promoted again (RACES 8).

    A primary that fails over and back without a restart keeps its run id, and gets back what it has unlinked
    since; its replication id is new with each promotion.
    """
    return blake2b(run_id + replication, digest_size=RUN_CHARACTERS // 2).hexdigest().encode()


def _field(info: bytes, name: bytes) -> bytes:
    found = info.partition(name + b":")[2][:ID_CHARACTERS]
    if len(found) != ID_CHARACTERS:
        raise CacheUnavailable(f"INFO shows no {name.decode()}: stamps cannot be tied to the server's run")
    return found
