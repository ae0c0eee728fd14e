"""Lateness of 1,000 slots of a schedule over three workers, each of which must run once."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from bench.figures import Figure, percentile
from bench.ground import Bench
from bench.slots import BEGUN, ENTRIES, EVERY, domain
from stoker import Stoker

IDS = ("cron-late",)
SLOTS = 1_000
WORKERS = 3
BOUND_MS = 100.0
FIRST_S, PATIENCE_S = 2.0, 10.0
"""Workers begin with late slots: those of the first seconds are not counted."""
POLL_S = 0.1
LEDGER = text(
    "SELECT job_id, slot, state FROM stoker.schedule_slots"
    " WHERE task LIKE 'note!_%' ESCAPE '!' AND slot > :after AND slot <= :until"
)
NOTE = (
    "p99, from the slot to the start of its job, by Postgres' and the worker's clock, which are one here; {} "
    "slots in all, {} of them due at each second, median {:.0f} ms; every slot ran once"
)


async def measure(bench: Bench) -> list[Figure]:
    """All slots are one block, because the bound is about all of them."""
    late = await _late_ms(bench, max(1, bench.scale.count(SLOTS) // ENTRIES))
    note = NOTE.format(f"{len(late):,}", ENTRIES, percentile(late, 0.5))
    return [Figure("cron-late", "the bound", "ms", "<= 1", [percentile(late, 0.99)], [BOUND_MS], note)]


async def _late_ms(bench: Bench, seconds: int) -> list[float]:
    async with bench.stoker(domain) as stoker, AsyncExitStack() as stack:
        for _ in range(WORKERS):
            await stack.enter_async_context(bench.worker(stoker, STOKER__DOMAIN="bench.slots"))
        begin = datetime.now(UTC).timestamp() + FIRST_S
        after = datetime.fromtimestamp(math.floor(begin), UTC)
        until = after + seconds * EVERY
        await asyncio.sleep((until - datetime.now(UTC)).total_seconds())
        return await _ended(stoker, after, until, ENTRIES * seconds)


async def _ended(stoker: Stoker, after: datetime, until: datetime, count: int) -> list[float]:
    """Lateness of each slot, once all have run; raises ValueError where one ran twice or did not run."""
    while True:
        begun = [one.decode().split() for one in await stoker.queue.redis.lrange(BEGUN, 0, -1)]  # type: ignore[misc]
        async with stoker.engine.connect() as connection:
            rows = (await connection.execute(LEDGER, {"after": after, "until": until})).all()
        slots = {row.job_id: row.slot for row in rows if row.state == "done"}
        found = [(int(at) / 1e9 - slots[job_id].timestamp()) * 1e3 for job_id, at in begun if job_id in slots]
        if len(found) == len(slots) == count:
            return found
        if datetime.now(UTC) - until > timedelta(seconds=PATIENCE_S):
            raise ValueError(f"{count} slots: {len(slots)} in the ledger, {len(found)} starts")
        await asyncio.sleep(POLL_S)
