"""At rest: faults are healed, everything settles, and then events and processes are counted.

Each check returns a list of sentences about what is wrong; the list of a good run is empty. Jobs, rescues,
entries and keys have modules of their own.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.chaos import requests
from stoker.chaos.mischief import KILLER
from stoker.chaos.scene import Scene
from stoker.chaos.words import first
from stoker.errors import DatabaseUnavailable
from stoker.postgres import database_errors

POLL_S = 0.1


@dataclass(frozen=True)
class Events:
    """The outbox at the end. Latency is from recording to settling, by Postgres's clock."""

    recorded: int
    settled: int
    missing: int
    """Changes that were acknowledged to a writer, of which no event is in the table."""
    slowest_s: float
    p99_s: float

    @property
    def lost(self) -> int:
        """Committed and never applied."""
        return self.recorded - self.settled + self.missing


async def settle(scene: Scene, within_s: float) -> tuple[float, list[str]]:
    """Wait until no work is left; returns how long that took, and what is left if it took too long."""
    began = time.monotonic()
    while True:
        left = await _left(scene)
        took = time.monotonic() - began
        if not left or took > within_s:
            return took, left
        await asyncio.sleep(POLL_S)


async def events(scene: Scene) -> Events:
    """Count the outbox."""
    with database_errors():
        async with scene.sql.connect() as connection:
            recorded, settled, slowest, p99 = (await connection.execute(_EVENTS)).one()
            known = await connection.scalar(_KNOWN, {"ids": list(scene.tally.changes)})
    missing = len(scene.tally.changes) - int(known or 0)
    return Events(recorded, settled, missing, float(slowest or 0), float(p99 or 0))


def processes(scene: Scene) -> list[str]:
    """Ends of processes that no fault explains, and ends after SIGTERM that were not orderly."""
    wrong = [words for slot in scene.slots for words in (*slot.unexplained, *slot.disorderly)]
    killers = scene.tally.mischief[KILLER]
    killed = sum(slot.killed_itself for slot in scene.slots)
    if killed and not killers:
        wrong.append(f"{killed} processes were killed by something other than the run")
    return wrong


async def _left(scene: Scene) -> list[str]:
    left = []
    try:
        unsettled = await _unsettled(scene.sql)
        missing = (await requests.count(scene.sql)).missing
    except DatabaseUnavailable as error:
        return [str(error)]
    if unsettled:
        left.append(f"{unsettled} committed events are not applied")
    async with Redis.from_url(scene.servers.urls.queue) as redis:
        await scene.ledger.take(redis)
    if missing:
        left.append(f"{len(missing)} committed requests had no effect: {first(missing)}")
    due = await _due(scene)
    if due:
        left.append(f"{due} jobs are due or running")
    return left


async def _due(scene: Scene) -> int:
    """Jobs that run, are due, or will be within the backoff of a short run."""
    soon = (time.time() + 5) * 1000
    async with Redis.from_url(scene.servers.urls.queue) as redis:
        pipe: Any = redis.pipeline()
        for lane in scene.ledger.lanes:
            queue = f"{scene.ledger.prefix}:{lane}"
            pipe.zcard(f"{queue}:running").zcount(queue, "-inf", soon)
        return sum(await pipe.execute())


async def _unsettled(sql: AsyncEngine) -> int:
    with database_errors():
        async with sql.connect() as connection:
            return int(await connection.scalar(_UNSETTLED) or 0)


_EVENTS = text("""
SELECT count(*), count(settled_at),
       extract(epoch FROM max(settled_at - recorded_at)),
       extract(epoch FROM percentile_disc(0.99) WITHIN GROUP (ORDER BY settled_at - recorded_at))
  FROM stoker.cache_events
""")
_KNOWN = text(
    "SELECT count(DISTINCT transaction_id) FROM stoker.cache_events WHERE transaction_id = ANY(:ids)"
)
_UNSETTLED = text("SELECT count(*) FROM stoker.cache_events WHERE settled_at IS NULL")
