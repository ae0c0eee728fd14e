"""Following one event to the cache, for writers that must read what they wrote (RACES 25)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jobs.connections import database_errors
from jobs.errors import StokerError

FIRST_LOOK_S, LONGEST_LOOK_S, LOOK_GROWTH = 0.004, 0.1, 1.5
"""How a receipt looks whether its event is settled."""
SILENCE_S = 1.0
"""For the last of its looks: a Postgres that went without a word must not hold a writer for longer."""


class Applied(StrEnum):
    """What became of a recorded event."""

    APPLIED = "applied"
    """The cache acknowledged it: no later read shows what was before."""
    PENDING = "pending"
    """Committed, but not applied within the timeout; the worker will."""
    ROLLED_BACK = "rolled_back"
    """Its transaction did not commit: nothing changed, nothing will be applied."""


class Receipt:
    """What `record` returns: follows one event to the cache."""

    def __init__(self, engine: AsyncEngine, on_applied: Callable[[], None]) -> None:
        self._engine = engine
        self._on_applied = on_applied
        self._event_id: int | None = None
        self._rolled_back = False

    @property
    def event_id(self) -> int:
        """The event's id; known once its transaction has committed."""
        if self._event_id is None:
            raise StokerError("the transaction of this event has not committed")
        return self._event_id

    async def applied(self, timeout: timedelta = timedelta(seconds=2)) -> Applied:  # noqa: ASYNC109
        """Wait until the change is in effect for every reader (read your writes; RACES 25).

        Raises DatabaseUnavailable where Postgres cannot say.
        """
        if self._rolled_back:
            return Applied.ROLLED_BACK
        event_id = self.event_id
        with database_errors():
            async with asyncio.timeout(timeout.total_seconds() + SILENCE_S):
                return await self._follow(event_id, time.monotonic() + timeout.total_seconds())

    async def _follow(self, event_id: int, give_up: float) -> Applied:
        look_s = FIRST_LOOK_S
        while True:
            async with self._engine.connect() as connection:
                if await is_settled(connection, event_id):
                    self._on_applied()
                    return Applied.APPLIED
            left = give_up - time.monotonic()
            if left <= 0:
                return Applied.PENDING
            await asyncio.sleep(min(look_s, left))
            look_s = min(look_s * LOOK_GROWTH, LONGEST_LOOK_S)

    def committed(self, event_id: int) -> None:
        """Called after the outermost commit."""
        self._event_id = event_id

    def rolled_back(self) -> None:
        """Called when the transaction, or the savepoint of this event, ended without a commit."""
        self._rolled_back = True


async def is_settled(connection: AsyncConnection, event_id: int) -> bool:
    """Whether an event is applied; one that was pruned is."""
    found = await connection.execute(
        text("SELECT settled_at IS NOT NULL FROM cache_events WHERE id = :id"), {"id": event_id}
    )
    return bool(found.scalar_one_or_none() in (True, None))
