"""The table `workers`: each worker process reports what it is and does, and hears whether it is to be quiet.

While Postgres is away nothing is reported, and the worker goes on as it was. Raises DatabaseUnavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import DatabaseUnavailable
from stoker.history.figures import FigureHistory
from stoker.history.presence import BEAT_S
from stoker.history.series import Sample, name
from stoker.postgres import database_errors
from stoker.worker.engine.meter import Load

log = logging.getLogger(__name__)

BUSY, SLOTS = "busy_s", "slot_s"
"""Series of a lane: seconds for which slots ran a job, and seconds of slots that there were."""
BEGAN = text(
    "INSERT INTO stoker.workers (name, release, started_at, lanes, memory_bytes)"
    " VALUES (:name, :release, clock_timestamp(), '{}', 0)"
    " ON CONFLICT (name) DO UPDATE SET release = excluded.release, started_at = excluded.started_at,"
    " seen_at = clock_timestamp(), stopped_at = NULL, lanes = '{}', quiet = false"
)
SEEN = text(
    "UPDATE stoker.workers SET seen_at = clock_timestamp(), lanes = CAST(:lanes AS jsonb),"
    " memory_bytes = :memory WHERE name = :name RETURNING quiet"
)
LEFT = text("UPDATE stoker.workers SET stopped_at = clock_timestamp() WHERE name = :name")


class Roster:
    """The reports of one worker. `load`: what its lanes have done since it was last called."""

    def __init__(
        self,
        engine: AsyncEngine,
        worker: str,
        release: str,
        load: Callable[[], Mapping[str, Load]],
        set_quiet: Callable[[bool], None],
    ) -> None:
        self._engine = engine
        self._who = {"name": worker, "release": release[:64]}
        self._load = load
        self._set_quiet = set_quiet
        self._history = FigureHistory(engine)
        self._begun = False

    async def run(self, stop: asyncio.Event) -> None:
        """Report every few seconds, and at the end that it has stopped."""
        while not stop.is_set():
            with contextlib.suppress(DatabaseUnavailable):
                await self.report()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await stop.wait()
        with contextlib.suppress(DatabaseUnavailable):
            await self._execute_left()

    async def report(self) -> None:
        """Report once, and act on an operator's wish."""
        loads = self._load()
        lanes = {
            lane: {"slots": one.slots, "busy": one.busy, "used": _share(one)} for lane, one in loads.items()
        }
        with database_errors():
            async with self._engine.begin() as connection:
                if not self._begun:
                    await connection.execute(BEGAN, self._who)
                values = {"name": self._who["name"], "lanes": json.dumps(lanes), "memory": memory_bytes()}
                quiet = await connection.scalar(SEEN, values)
        self._begun = quiet is not None  # pruned, after a month without Postgres
        self._set_quiet(bool(quiet))
        await self._history.add([one for lane, load in loads.items() for one in _samples(lane, load)])

    async def _execute_left(self) -> None:
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(LEFT, {"name": self._who["name"]})


def memory_bytes() -> int:
    """The resident memory of this process; where the system does not say it, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _share(load: Load) -> float:
    return round(min(1.0, load.busy_s / load.slot_s), 4) if load.slot_s else 0.0


def _samples(lane: str, load: Load) -> list[Sample]:
    found = [Sample(name("lane", lane, SLOTS), load.slot_s), Sample(name("lane", lane, BUSY), load.busy_s)]
    return [one for one in found if one.value > 0]
