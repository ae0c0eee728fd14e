"""Following one event to the cache, for writers that must read what they wrote (RACES 25)."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.errors import DatabaseUnavailable, StokerError
from stoker.postgres import database_errors

FIRST_POLL_S, LONGEST_POLL_S, POLL_GROWTH = 0.004, 0.1, 1.5
"""Seconds between checks whether an event is settled."""
SILENCE_S = 1.0
"""Seconds for the last check: a silent Postgres must not hold a writer for longer."""
LOCK_NOT_AVAILABLE = "55P03"
"""SQLSTATE of a statement that waited for another transaction for as long as it may."""
_WAIT = text("SELECT set_config('lock_timeout', :ms, true)")
_TAKE = text(
    "INSERT INTO stoker.cache_events (id, kind, payload, scopes) VALUES (:id, '', '{}', '[]')"
    " ON CONFLICT DO NOTHING"
)

_STATUS = text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")
_OF_TRANSACTION = text("SELECT id FROM stoker.cache_events WHERE settled_at IS NULL AND transaction_id = :id")
_UNSETTLED = text(
    "SELECT id FROM stoker.cache_events WHERE settled_at IS NULL AND id = ANY(CAST(:ids AS bigint[]))"
)


class Applied(StrEnum):
    """What became of a recorded event."""

    APPLIED = "applied"
    """The cache acknowledged it: no later read shows what was before."""
    PENDING = "pending"
    """Committed, but not applied within the timeout; the worker will."""
    ROLLED_BACK = "rolled_back"
    """Its transaction did not commit: nothing changed, nothing will be applied."""
    UNKNOWN = "unknown"
    """The answer to its COMMIT was lost, and Postgres has not ended the transaction yet or does not answer:
    ask again. The change may be committed, so it must not be made a second time."""


class StillOpen(Exception):
    """A transaction has not ended yet."""


class Receipt:
    """What `record` returns: follows one event to the cache."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._event_id: int | None = None
        self._unanswered: int | None = None
        self._rolled_back = False

    @property
    def event_id(self) -> int:
        """The event's id; known once its transaction has committed."""
        if self._event_id is None:
            raise StokerError("the transaction of this event has not committed")
        return self._event_id

    async def applied(self, timeout: timedelta = timedelta(seconds=2)) -> Applied:  # noqa: ASYNC109
        """Wait until the change is in effect for every reader, for at most `timeout` (RACES 25).

        After a commit that raised, it tells whether there was one, or UNKNOWN while Postgres cannot say.
        Raises DatabaseUnavailable where Postgres cannot say whether what is committed is applied.
        """
        limit_s = timeout.total_seconds()
        give_up = time.monotonic() + limit_s
        try:
            with database_errors():
                async with asyncio.timeout(limit_s + SILENCE_S):
                    if self._unanswered is not None and not await self._decide(self._unanswered, limit_s):
                        return Applied.UNKNOWN
                    if self._rolled_back:
                        return Applied.ROLLED_BACK
                    return await self._follow(self._followed(), give_up)
        except DatabaseUnavailable:
            if self._unanswered is None:
                raise
            return Applied.UNKNOWN

    async def _decide(self, event_id: int, within_s: float) -> bool:
        try:
            committed = await self._was_committed(event_id, within_s)
        except StillOpen:
            return False
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
                return False
            raise
        self._unanswered = None
        if committed:
            self.committed(event_id)
        else:
            self.rolled_back()
        return True

    async def _follow(self, event_id: int, give_up: float) -> Applied:
        poll_s = FIRST_POLL_S
        while True:
            async with self._engine.connect() as connection:
                if await self._is_settled(connection, event_id):
                    return Applied.APPLIED
            left = give_up - time.monotonic()
            if left <= 0:
                return Applied.PENDING
            await asyncio.sleep(min(poll_s, left))
            poll_s = min(poll_s * POLL_GROWTH, LONGEST_POLL_S)

    def _followed(self) -> int:
        return self.event_id

    async def _was_committed(self, event_id: int, within_s: float) -> bool:
        return await was_committed(self._engine, event_id, within_s)

    async def _is_settled(self, connection: AsyncConnection, event_id: int) -> bool:
        return await is_settled(connection, event_id)

    def committed(self, event_id: int) -> None:
        """Called after the outermost commit."""
        self._event_id, self._unanswered = event_id, None

    def rolled_back(self) -> None:
        """Called when the transaction, or the savepoint of this event, ended without a commit."""
        self._rolled_back = True

    def unanswered(self, event_id: int) -> None:
        """Called when the transaction ended after its COMMIT had been asked for, and no answer came."""
        self._unanswered = event_id


class TransactionReceipt(Receipt):
    """What `Stoker.applied` returns: follows all events of one transaction, also those of triggers.

    In the place of an event's id it has the transaction's.
    """

    _left: list[int] | None = None

    @property
    def event_id(self) -> int:
        """Raises StokerError: a transaction may have recorded many events, or none."""
        raise StokerError("this receipt follows a transaction, not one event: ask for its transaction_id")

    @property
    def transaction_id(self) -> int:
        """The `transaction_id` of all its events; raises StokerError before the commit."""
        if self._event_id is None:
            raise StokerError("the transaction has not committed")
        return self._event_id

    async def applied(self, timeout: timedelta = timedelta(seconds=2)) -> Applied:  # noqa: ASYNC109
        """Wait until all that the transaction has recorded is in effect for every reader; see Receipt."""
        return await super().applied(timeout)

    def _followed(self) -> int:
        return self.transaction_id

    async def _was_committed(self, event_id: int, within_s: float) -> bool:
        give_up = time.monotonic() + within_s
        while True:
            async with self._engine.connect() as connection:
                status = await connection.scalar(_STATUS, {"id": str(event_id)})
            if status != "in progress":
                return bool(status == "committed")
            if time.monotonic() >= give_up:
                raise StillOpen
            await asyncio.sleep(LONGEST_POLL_S)

    async def _is_settled(self, connection: AsyncConnection, event_id: int) -> bool:
        if self._left is None:
            self._left = list(await connection.scalars(_OF_TRANSACTION, {"id": event_id}))
        elif self._left:
            self._left = list(await connection.scalars(_UNSETTLED, {"ids": self._left}))
        return not self._left


async def is_settled(connection: AsyncConnection, event_id: int) -> bool:
    """Whether an event is applied; one that was pruned is."""
    found = await connection.execute(
        text("SELECT settled_at IS NOT NULL FROM stoker.cache_events WHERE id = :id"), {"id": event_id}
    )
    return bool(found.scalar_one_or_none() in (True, None))


async def was_committed(engine: AsyncEngine, event_id: int, within_s: float) -> bool:
    """Whether the writer of an event has committed; asked after its connection was lost.

    Its row is asked for by an INSERT under the same id, rolled back at once: that waits for a transaction
    which Postgres still has open or is about to commit, where a SELECT would call the row missing.
    """
    async with engine.connect() as connection:
        await connection.execute(_WAIT, {"ms": str(max(1, round(within_s * 1000)))})
        return (await connection.execute(_TAKE, {"id": event_id})).rowcount == 0
