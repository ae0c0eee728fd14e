"""Notes in Postgres which requested jobs of one lane have ended, before they leave Redis.

docs/decisions/0017 says why. Ends that meet while one statement is under way go with the next one. While
Postgres is away, claims are kept and renewed; when too many wait, the lane claims no more jobs. A worker that
must stop now gives up the notes that are left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from stoker.outbox.ends import JobEnds
from stoker.worker.engine.supervisor import supervise

logger = logging.getLogger(__name__)

BATCH = 500
MOST = 100
"""Ends waiting for Postgres above which a lane claims no more jobs."""
LONGEST_DELAY = timedelta(seconds=5)
"""Between attempts."""


class EndNotes:
    """Those under way. `noted` is called when some were written."""

    def __init__(self, ends: JobEnds, noted: Callable[[], None]) -> None:
        self._ends = ends
        self._noted = noted
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._given_up = False

    @property
    def too_many(self) -> bool:
        """Whether so many wait that the lane must claim no more jobs."""
        return len(self._waiting) >= MOST

    async def note(self, job_id: str) -> None:
        """Wait until the end has committed, however long that takes, or until notes are given up."""
        if self._given_up:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((job_id, future))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(supervise("ends", self._write, longest=LONGEST_DELAY))
        await future

    def give_up(self) -> None:
        """Let every job leave Redis without its note, from now on: the worker stops."""
        self._given_up = True
        if self._writing is not None:
            self._writing.cancel()
        if self._waiting:
            logger.warning("engine.ends_not_noted", extra={"jobs": len(self._waiting)})
        self._settle(len(self._waiting))

    async def _write(self) -> None:
        while self._waiting:
            batch = [job_id for job_id, _ in self._waiting[:BATCH]]
            await self._ends.note(batch)
            self._settle(len(batch))
            self._noted()

    def _settle(self, count: int) -> None:
        settled, self._waiting = self._waiting[:count], self._waiting[count:]
        for _, future in settled:
            if not future.done():
                future.set_result(None)
