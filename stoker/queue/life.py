"""Which life of the queue this is: another one after its data was erased, restored or left behind.

A life is identified by a random mark under the queue's prefix and by the run of the server. A flush erases
the mark. A restart, which may have brought back older data, and a promotion are another run. Where all data
was kept, another life costs little: the queue knows the ids of what is delivered to it again. Raises
QueueUnavailable.
"""

from __future__ import annotations

import secrets

from stoker.redis.queue import QueueConnection
from stoker.redis.run import replication_id, run_id, run_of
from stoker.settings import QueueSettings


def life_name(settings: QueueSettings) -> str:
    """The key that holds the mark; it lives as long as the queue's data."""
    return f"{settings.prefix}:life"


class QueueLife:
    """The life that one process delivers to."""

    def __init__(self, connection: QueueConnection, settings: QueueSettings) -> None:
        self._connection = connection
        self._name = life_name(settings)
        self._known = ""

    async def known(self) -> str:
        """The life as it was asked for last.

        It may be over. What is delivered after that is noted for a life that has ended, and delivered again.
        """
        return self._known or await self.ask()

    async def ask(self) -> str:
        """Ask which life it is now: 16 hex digits. A queue without a mark gets one."""
        mark = await self._mark() or await self._made()
        server = await self._connection.command("INFO", "server")
        replication = await self._connection.command("INFO", "replication")
        self._known = run_of(mark + run_id(server), replication_id(replication)).decode()
        return self._known

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
