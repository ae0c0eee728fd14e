"""Follows committed changes until they are known to be in effect: reads are then judged by them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.chaos.tally import Tally
from stoker.errors import DatabaseUnavailable
from stoker.postgres import database_errors

POLL_S = 0.05


@dataclass(frozen=True)
class Followed:
    """A committed change that is not known to be applied yet; `began`: seconds since 1970."""

    began: float
    applied: Callable[[], None]


class Changes:
    """The changes of one run that are not known to be in effect yet."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._following: dict[int, Followed] = {}
        """By transaction."""
        self._ended = False

    def add(self, transaction_id: int, change: Followed, *, applied: bool) -> None:
        """A change that was acknowledged."""
        if applied:
            self._applied(change)
        else:
            self._following[transaction_id] = change

    def end(self) -> None:
        """Follow no more changes."""
        self._ended = True

    async def follow_on(self, sql: AsyncEngine) -> None:
        """Check which changes are applied, until `end`; never cancelled in the middle of a statement."""
        while not self._ended:
            await asyncio.sleep(POLL_S)
            await self.follow(sql)

    async def follow(self, sql: AsyncEngine) -> None:
        """Check once which changes are applied."""
        if not self._following:
            return
        try:
            with database_errors():
                async with sql.connect() as connection:
                    found = await connection.scalars(_SETTLED, {"ids": list(self._following)})
                    settled = list(found)
        except DatabaseUnavailable:
            return
        for transaction_id in settled:
            followed = self._following.pop(transaction_id, None)
            if followed is not None:
                self._applied(followed)

    def _applied(self, followed: Followed) -> None:
        self._tally.writes_waited_for += 1
        followed.applied()
        self._tally.in_effect(followed.began)


_SETTLED = text(
    "SELECT transaction_id FROM stoker.cache_events WHERE transaction_id = ANY(:ids)"
    " GROUP BY transaction_id HAVING bool_and(settled_at IS NOT NULL)"
)
