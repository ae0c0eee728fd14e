"""Memory of a worker after 30,000 and 90,000 tiny jobs; with --full after 100,000, 300,000 and a million."""

from __future__ import annotations

import asyncio
import time

from bench.figures import Figure
from bench.ground import Bench, NotThere
from bench.processes import megabytes
from stoker import Invalidate, Lane, Stoker
from stoker.queue.wire import queue_name

IDS = ("memory", "memory-million")
JOBS, LATER = 30_000, 90_000
FULL_JOBS, FULL_LATER, MILLION = 100_000, 300_000, 1_000_000
"""With --full; too many for a run that is to end within 15 minutes."""
AT_ONCE = 10_000
POLL_S = 0.05
PATIENCE_S = 120.0


async def measure(bench: Bench) -> list[Figure]:
    """One worker process. Every buffer of fixed size is full long before the first measurement."""
    first, later = (FULL_JOBS, FULL_LATER) if bench.scale.full else map(bench.scale.count, (JOBS, LATER))
    async with bench.stoker() as stoker, bench.worker(stoker) as process:
        before = await _after(stoker, process.pid, first)
        after = await _after(stoker, process.pid, later - first)
        figures = [_figure("memory", before, after, first, later)]
        if bench.scale.full:
            last = await _after(stoker, process.pid, MILLION - later)
            figures.append(_figure("memory-million", before, last, first, MILLION))
    return figures


async def _after(stoker: Stoker, pid: int, count: int) -> float:
    for start in range(0, count, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, count))
        await stoker.queue.enqueue_many(
            [Invalidate(scope_kind="project", scope_id=str(n), views=("dashboard",)) for n in numbers]
        )
        await _until_empty(stoker)
    return megabytes("VmRSS", pid)


async def _until_empty(stoker: Stoker) -> None:
    queue = stoker.queue
    name = queue_name(queue.settings, Lane.CHANGES)
    give_up = time.monotonic() + PATIENCE_S
    while await queue.redis.zcard(name) or await queue.redis.zcard(f"{name}:running"):
        if time.monotonic() > give_up:
            raise NotThere(f"the lane is not empty after {PATIENCE_S:.0f} s")
        await asyncio.sleep(POLL_S)


def _figure(row: str, before: float, after: float, first: int, later: int) -> Figure:
    against = f"the same process after {first:,} jobs"
    return Figure(row, against, "MB", "<= 1.05", [after], [before], f"resident after {later:,} tiny jobs")
