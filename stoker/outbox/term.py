"""The term in Postgres: readers learn it, workers set it, and whoever invalidates waits for the longest.

docs/decisions/0025 has the protocol, and why no reader shows what was before a change that is applied. Where
Postgres does not answer, readers soon serve nothing without asking, and whoever invalidates waits for the
longest term that can be set.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.cache.near import Terms
from stoker.cache.term import SERVED, SURE_S
from stoker.errors import DatabaseUnavailable
from stoker.postgres import database_errors, short_connection
from stoker.settings import LONGEST_TERM_MS

logger = logging.getLogger(__name__)

ROW = text("SELECT term_ms, longest_ms, changes FROM stoker.cache_term")
LONGEST = text("SELECT longest_ms, current_setting('transaction_isolation') FROM stoker.cache_term")
# One statement: no reader learns a term that is longer than the wait of whoever applies.
SET = text("""
    UPDATE stoker.cache_term
       SET term_ms = :term_ms, longest_ms = greatest(longest_ms, :term_ms), changes = changes + 1
     WHERE term_ms <> :term_ms
""")
FORGET = text("UPDATE stoker.cache_term SET longest_ms = term_ms WHERE changes = :changes")


class TermRow(NamedTuple):
    """What readers serve for, what appliers wait for, in milliseconds; and how often the first changed."""

    term_ms: int
    longest_ms: int
    changes: int


class CacheTerm:
    """The term of an installation, as one process uses it. `terms` has their clock."""

    def __init__(self, engine: AsyncEngine, terms: Terms[Any], own_ms: int) -> None:
        self._engine = engine
        self._terms = terms
        self._own_ms = own_ms
        self._set = False
        self._seen: TermRow | None = None
        self._seen_s = 0.0
        self._one_asks = asyncio.Lock()
        self._asked = self._answered = 0
        """Number of the last question that was begun, and of the last one that was answered."""
        self._answer_ms = 0

    async def learn(self) -> None:
        """For a reader: serve by the term for as long as it is known to be no shorter."""
        asked_s = self._terms.now_s()  # before the question: a late reply must not count for longer
        row = await self._row()
        self._terms.use(min(row.term_ms, self._own_ms) / 1000, asked_s + SURE_S * SERVED)

    async def over(self, connection: AsyncConnection | None = None) -> None:
        """For whoever invalidates, after the acknowledgement: return when no reader serves from before.

        `connection`: of a transaction that goes on. Never raises because Postgres is away.
        """
        unlinked_s = self._terms.now_s()
        # Asked after the unlink: a term that was raised since began after it, too.
        longest_ms = await (self._longest_now() if connection is None else self._longest_ms(connection))
        until_s = unlinked_s + longest_ms / 1000
        while (left_s := until_s - self._terms.now_s()) > 0:  # noqa: ASYNC110 - another clock than the loop's
            await asyncio.sleep(left_s)

    async def keep(self) -> None:
        """For a worker, again and again: set the term once, and shorten the wait after it was lowered."""
        if not self._set:
            await self._change(SET, term_ms=self._own_ms)
            self._set = True
        asked_s = self._terms.now_s()
        row = await self._row()
        if self._seen is None or row.changes != self._seen.changes:
            self._seen, self._seen_s = row, self._terms.now_s()
        elif row.longest_ms > row.term_ms and asked_s >= self._seen_s + SURE_S + row.longest_ms / 1000:
            await self._change(FORGET, changes=row.changes)

    async def _longest_now(self) -> int:
        """As `_longest_ms`; callers share one question, which begins after the last of them has come."""
        next_one = self._asked + 1
        async with self._one_asks:
            if self._answered < next_one:
                self._asked += 1
                self._answer_ms = await self._longest_ms(None)
                self._answered = self._asked
            return self._answer_ms

    async def _row(self) -> TermRow:
        async with short_connection(self._engine) as connection:
            return TermRow._make((await connection.execute(ROW)).one())

    async def _longest_ms(self, connection: AsyncConnection | None) -> int:
        if connection is not None:
            return await _longest_ms(connection)
        try:
            # When the answer comes later than this, the longest term is over by then.
            async with asyncio.timeout(LONGEST_TERM_MS / 1000), short_connection(self._engine) as opened:
                return await _longest_ms(opened)
        except (TimeoutError, DatabaseUnavailable, DBAPIError) as error:
            logger.warning("term.unknown", extra={"error": repr(error)[:200], "waits_ms": LONGEST_TERM_MS})
            return LONGEST_TERM_MS

    async def _change(self, statement: TextClause, **values: int) -> None:
        with database_errors():
            async with self._engine.begin() as connection:
                changed = (await connection.execute(statement, values)).rowcount
        if changed:
            logger.info("term.changed", extra=values)


async def _longest_ms(connection: AsyncConnection) -> int:
    longest_ms, isolation = (await connection.execute(LONGEST)).one()
    # A transaction with one snapshot, of an engine of the application, does not see what was raised since.
    return int(longest_ms) if isolation == "read committed" else LONGEST_TERM_MS
