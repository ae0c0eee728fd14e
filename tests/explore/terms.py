"""Time as the explorer lets it pass, and the row of the term, for cases in which readers need not ask.

Every step of such a case may depend on the time, and time passes only in steps of its own: when a case says
so, and when somebody who waits for a term goes on. The clocks of readers are slow and those of workers fast,
by as much as clocks are ever adjusted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import cast

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import stoker.outbox.term as protocol
from stoker.cache.lookup import Plan
from stoker.cache.near import Terms
from stoker.outbox.term import CacheTerm, TermRow
from tests.explore.stage import Stage
from tests.races.guards.terms import SHORTENED_AT_ONCE

FAST, SLOW = 1.1, 0.9
BEGAN_S = 1e6
"""What every clock shows at the beginning."""
TIME, ROW = "time", "term"
"""Resources."""


class Time:
    """The time of one run, and its term. `back_s`: by how much wall clocks were set back."""

    def __init__(self, stage: Stage, term_ms: int) -> None:
        self.stage = stage
        self.row = TermRow(term_ms, term_ms, 0)
        self.real_s = 0.0
        self.back_s = 0.0

    def clock(self, rate: float) -> Callable[[], float]:
        """The clock of terms of a process."""
        return lambda: BEGAN_S + self.real_s * rate

    async def passes(self, seconds: float) -> None:
        """Everybody is stopped for so long."""

        def perform() -> None:
            self.real_s += seconds

        await self.stage.ask(f"TIME {seconds:g} s pass", {TIME: "w"}, perform)

    async def set_back(self, seconds: float) -> None:
        """The wall clocks are set back."""

        def perform() -> None:
            self.back_s += seconds

        await self.stage.ask(f"CLOCK set back by {seconds:g} s", {TIME: "w"}, perform)

    async def sleep(self, seconds: float) -> None:
        """Whoever waits goes on at this time, or later."""
        until_s = self.real_s + seconds / FAST

        def perform() -> None:
            if self.real_s >= until_s:
                self.stage.only_read(TIME)
            self.real_s = max(self.real_s, until_s)

        await self.stage.ask(f"WAITS {seconds:.3g} s", {TIME: "w"}, perform)


OF_THE_RUN: ContextVar[Time] = ContextVar("time")


async def sleep(seconds: float) -> None:
    """`asyncio.sleep` of whoever waits for a term."""
    await OF_THE_RUN.get().sleep(seconds)


class SteppedTerm(CacheTerm):
    """The protocol's own CacheTerm, with a row of the explorer's in the place of Postgres'."""

    def __init__(self, time: Time, used: Terms[Plan], own_ms: int) -> None:
        super().__init__(cast("AsyncEngine", None), used, own_ms)
        self._time = time

    async def _row(self) -> TermRow:
        found: TermRow = await self._time.stage.ask("SELECT term", {ROW: "r"}, lambda: self._time.row)
        return found

    async def _longest_ms(self, _connection: AsyncConnection | None) -> int:
        return (await self._row()).longest_ms

    async def _change(self, statement: TextClause, **values: int) -> None:
        def perform() -> str:
            self._time.row = changed(self._time.row, statement, **values)
            return str(self._time.row)

        await self._time.stage.ask(f"UPDATE term {values}", {ROW: "w"}, perform)


def changed(row: TermRow, statement: TextClause, *, term_ms: int = 0, changes: int = 0) -> TermRow:
    """What the statements of stoker/outbox/term.py make of the row."""
    if statement is protocol.FORGET:
        return row._replace(longest_ms=row.term_ms) if row.changes == changes else row
    if row.term_ms == term_ms:
        return row
    longest_ms = term_ms if statement is SHORTENED_AT_ONCE else max(row.longest_ms, term_ms)
    return TermRow(term_ms, longest_ms, row.changes + 1)
