"""Which engines lead to the database whose outbox Stoker applies.

An event that is recorded anywhere else is never applied. Each engine is asked once, by the first session that
records through it, for the installation id in its database. Stoker's own engine is not asked.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Pool, text
from sqlalchemy.exc import ProgrammingError

from stoker.errors import WrongServer

INSTALLATION = text("SELECT id FROM stoker.installation ORDER BY created_at DESC LIMIT 1")


class KnownDatabases:
    """What is known of the engines that events were recorded through."""

    def __init__(self, own: Engine, installation: str) -> None:
        self._own = own
        self._installation = installation
        # By pool: an engine with other options shares it, and one that was disposed of gets a new one.
        self._refused: WeakKeyDictionary[Pool, str | None] = WeakKeyDictionary()

    def knows(self, bind: Engine | Connection) -> bool:
        """Whether this leads to Stoker's database; false until it was asked; raises WrongServer if not."""
        pool = bind.engine.pool
        if pool is self._own.pool:
            return True
        if bind.dialect.name != "postgresql":
            raise _wrong(f"it is of {bind.dialect.name}")
        if pool not in self._refused:
            return False
        if (reason := self._refused[pool]) is not None:
            raise _wrong(reason)
        return True

    def ask(self, connection: Connection) -> None:
        """Learn where a connection leads; raises WrongServer, so that its transaction does not commit."""
        if self.knows(connection):
            return
        reason = None
        try:
            found = connection.scalar(INSTALLATION)
        except ProgrammingError as error:
            reason = str(error.orig)
        else:
            if found != self._installation:
                reason = f"its installation is {found}, Stoker's is {self._installation}"
        self._refused[connection.engine.pool] = reason
        self.knows(connection)


def _wrong(reason: str) -> WrongServer:
    return WrongServer(
        f"the session leads to another database than Stoker's ({reason}): record the event in a session of "
        "the database that DATABASE_URL names"
    )
