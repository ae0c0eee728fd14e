"""Playing a trace on one side: every act begins at its time, whether those before it have ended or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from bench.replay.judge import Tally, Truth
from bench.replay.trace import Act, Read, Team, Write
from jobs.writes.writer import Written
from stoker import Forbidden, NotFound

Effect = Callable[[], Awaitable[object]]
"""Returns when a side says that no later read shows what was before."""


class Side(Protocol):
    """A cache layer under test."""

    async def read(self, read: Read) -> tuple[Any, bool]:
        """The decoded value, and whether it was cached; raises Forbidden or NotFound."""

    async def commit(self, write: Write) -> tuple[Written, Effect]:
        """Write to SQL; the effect is to be awaited."""


class Player:
    """Plays one trace on one side."""

    def __init__(self, side: Side, teams: dict[int, Team]) -> None:
        self._side = side
        self._in_effect = Truth(teams)
        self._committed = Truth(teams)
        self.tally = Tally()

    async def play(
        self, trace: Sequence[tuple[float, Act]], warm_up_s: float, warmed_up: Callable[[], None]
    ) -> Tally:
        """What was answered after the first seconds; raises what a read or a write raised unexpectedly."""
        started = time.perf_counter()
        tasks: list[asyncio.Task[None]] = []
        counted = self.tally
        self.tally = Tally()
        for at_s, act in trace:
            if at_s >= warm_up_s and self.tally is not counted:
                self.tally = counted
                warmed_up()
            wait_s = started + at_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self._read(act) if isinstance(act, Read) else self._write(act)))
        await asyncio.gather(*tasks)
        return counted

    async def _read(self, read: Read) -> None:
        tally = self.tally
        least, committed = self._in_effect.least(read), self._committed.least(read)
        started = time.perf_counter()
        try:
            value, hit = await self._side.read(read)
        except (Forbidden, NotFound):
            tally.intrusions += least.forbidden
            tally.refused += not least.forbidden
            return
        took_ms = (time.perf_counter() - started) * 1e3
        if least.forbidden and self._in_effect.least(read).forbidden:  # they were not added again meanwhile
            tally.intrusions += 1
            tally.forbidden += 1
            return
        tally.served(read, took_ms, hit=hit)
        if least.stale(read.view, value):
            tally.stale[read.view] += 1
        elif committed.stale(read.view, value):
            tally.in_between += 1

    async def _write(self, write: Write) -> None:
        tally = self.tally
        self._in_effect.begun(write)
        self._committed.begun(write)
        written, effect = await self._side.commit(write)
        self._committed.done(write, written.revision, written.shown_by)
        await effect()
        self._in_effect.done(write, written.revision, written.shown_by)
        tally.writes += 1
