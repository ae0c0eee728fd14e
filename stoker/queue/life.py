"""Which life of the queue this is: another one after its data was erased, restored or left behind.

A life is identified by a random mark under the queue's prefix and by the run of the server. A flush erases
the mark. A restart, which may have brought back older data, and a promotion are another run. Where all data
was kept, another life costs little: the queue knows the ids of what is delivered to it again. Raises
QueueUnavailable.
"""

from __future__ import annotations

import secrets
import time

from stoker.redis.queue import QueueConnection
from stoker.redis.run import replication_id, run_id, run_of
from stoker.settings import QueueSettings

SURE_S = 5.0
"""Seconds for which a connection is taken to lead to the same run of a server. It ends with the server, and
when a demoted server refuses a write. A server that is demoted while this process writes nothing keeps it."""


def life_name(settings: QueueSettings) -> str:
    """The key that holds the mark; it lives as long as the queue's data."""
    return f"{settings.prefix}:life"


class QueueLife:
    """The life that one process delivers to."""

    def __init__(self, connection: QueueConnection, settings: QueueSettings) -> None:
        self._connection = connection
        self._name = life_name(settings)
        self._life = ""
        self._place: tuple[bytes, int] | None = None
        """The mark, and which of the connections it was read on."""
        self._identified_s = 0.0

    async def ask(self) -> str:
        """Ask which life it is now: 16 hex digits. A queue without a mark gets one.

        It may end at once. What is delivered after that is noted for a life that is over, and is delivered
        again.
        """
        mark = await self._mark() or await self._made()
        # Read before the server is identified: if the connection is lost meanwhile, the next call does it
        # again.
        place, now_s = (mark, self._connection.opened), time.monotonic()
        if place != self._place or now_s >= self._identified_s + SURE_S:
            server = await self._connection.command("INFO", "server")
            replication = await self._connection.command("INFO", "replication")
            self._life = run_of(mark + run_id(server), replication_id(replication)).decode()
            self._place, self._identified_s = place, now_s
        return self._life

    async def _mark(self) -> bytes | None:
        # MGET, because GET fails where a key is of another type.
        [mark] = await self._connection.command("MGET", self._name)
        return mark  # type: ignore[no-any-return]

    async def _made(self) -> bytes:
        """The mark of the first process that makes one, unless a key of another type is in its place."""
        made = secrets.token_hex(8).encode()
        await self._connection.command("SET", self._name, made, "NX")
        mark = await self._mark()
        if not mark:
            await self._connection.command("SET", self._name, made)
        return mark or made
