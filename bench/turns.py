"""The example application with jobs of tenants, in a lane whose slots one tenant's backlog keeps busy."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from jobs import domain as projects
from stoker import Job, JobContext, Lane

TURNS = Lane("turns", concurrency=20)
WORK_S = 0.05
"""Seconds of each job of the backlog: 400 a second in all."""
WAITED = "bench:waited"
"""A list in the queue Redis: nanoseconds from before the enqueueing of a job to its start."""


class Turn(Job):
    """A job of a tenant; `asked_ns`: wall time before its enqueueing, 0 for one of the backlog."""

    kind = "bench.turn"
    lane = TURNS
    tenant: str
    asked_ns: int = 0

    def fair_key(self) -> str:
        """Tenants take turns."""
        return self.tenant


async def take_turn(context: JobContext, job: Turn) -> None:
    """Note how long it waited, or keep a slot busy."""
    if job.asked_ns:
        await context.stoker.queue.redis.rpush(WAITED, time.time_ns() - job.asked_ns)  # type: ignore[misc]
    else:
        await asyncio.sleep(WORK_S)


domain = replace(projects, lanes=(*projects.lanes, TURNS), handlers={**projects.handlers, Turn: take_turn})
