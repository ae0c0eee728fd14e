"""The loop that keeps history: it writes ended runs, samples, rolls up, deletes, and reports its worker.

While Postgres is away, runs wait in memory as far as there is room, and figures of that time are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection
from datetime import timedelta

from stoker.errors import DatabaseUnavailable
from stoker.history.figures import FigureHistory
from stoker.history.job_rows import JobHistory
from stoker.history.presence import BEAT_S, Presence
from stoker.history.recorder import Recorder
from stoker.history.sampler import Sampler
from stoker.stoker import Stoker

log = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
"""How late a run appears in the history."""
TIDY_EVERY_S = 300.0
ROLLED_UP = timedelta(hours=2)
"""How far back a regular roll-up goes; the first of a process goes as far as there are minutes."""


class Keeper:
    """History of one worker process."""

    def __init__(
        self,
        stoker: Stoker,
        recorder: Recorder,
        worker: str,
        sample_every: timedelta,
        lanes: Collection[str] = (),
    ) -> None:
        self._domain = stoker.domain
        self._recorder = recorder
        self._presence = Presence(stoker.engine, worker, lanes)
        self._every_s = sample_every.total_seconds()
        self._figures = FigureHistory(stoker.engine)
        self._jobs = JobHistory(stoker.engine)
        self._sampler = Sampler(stoker, self._figures, sample_every)
        self._beat_at = 0.0
        self._sample_at = 0.0
        self._tidy_at = 0.0
        self._roll_up = timedelta(days=2)
        self._away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Keep history until told to stop, then write what has ended."""
        while not stop.is_set():
            await self.once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await stop.wait()
        # Once more, also if the stop came during the last pass: jobs may have ended after it took its rows.
        self._sample_at = 0.0
        await self.once()
        await self._leave()

    async def once(self) -> None:
        """Do everything that is due now."""
        try:
            if time.monotonic() >= self._beat_at:
                self._beat_at = time.monotonic() + BEAT_S
                await self._presence.seen()
            await self._write()
            if time.monotonic() >= self._sample_at:
                self._sample_at = time.monotonic() + self._every_s
                await self._sampler.sample()
            if time.monotonic() >= self._tidy_at:
                self._tidy_at = time.monotonic() + TIDY_EVERY_S
                await self._tidy()
        except DatabaseUnavailable as error:
            if not self._away:
                log.warning("history.waits", extra={"error": str(error)})
            self._away = True
            # Report again as soon as Postgres is back: until then this worker looks as if it were gone.
            self._beat_at = 0.0
        else:
            self._away = False

    async def _leave(self) -> None:
        with contextlib.suppress(DatabaseUnavailable):  # the missing report shows that it has stopped
            await self._presence.left()

    async def _write(self) -> None:
        rows = self._recorder.take()
        try:
            await self._jobs.add(rows)
        except DatabaseUnavailable:
            self._recorder.give_back(rows)
            raise

    async def _tidy(self) -> None:
        await self._figures.roll_up(self._roll_up)
        self._roll_up = ROLLED_UP
        await self._figures.forget()
        await self._jobs.forget(list(self._domain.job_types))
