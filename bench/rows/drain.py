"""Tiny jobs from a full queue, against stock arq at its best poll delay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench, NotThere
from bench.peer import Peer, running
from stoker import Invalidate, Job, Lane, Stoker
from stoker.queue.wire import queue_name

IDS = ("drain",)
JOBS, JOBS_OF_SHORT_RUN = 20_000, 1_000
POLL_S = 0.01
PATIENCE_S = 120.0
SLOTS = 100
"""Jobs at once, on both sides."""
ARQ = {"poll_s": 0.01, "max_jobs": SLOTS}


async def measure(bench: Bench) -> list[Figure]:
    """One worker process each; every job unlinks one key of its own."""
    count = JOBS if bench.scale.full else bench.scale.count(JOBS_OF_SHORT_RUN)
    async with (
        bench.stoker() as stoker,
        bench.worker(stoker),
        running("arq_jobs", bench.urls.queue, bench.urls.cache) as client,
        running("arq_jobs", bench.urls.queue, bench.urls.cache) as worker,
    ):
        jobs = [
            Invalidate(scope_kind="project", scope_id=str(number), views=("dashboard",))
            for number in range(count)
        ]
        await stoker.queue.set_concurrency(Lane.CHANGES, SLOTS)
        ours, theirs = await alternate(
            bench.scale.blocks,
            lambda: drained(stoker, Lane.CHANGES, jobs),
            lambda: _drained_by(client, worker, [f"plain:{number}" for number in range(count)]),
        )
    note = (
        f"{count:,} jobs in the queue before the lane is resumed, or arq's worker started; {SLOTS} slots each"
    )
    return [Figure("drain", "stock arq at its best poll delay", "jobs/s", ">= 1.5", ours, theirs, note)]


async def drained(stoker: Stoker, lane: Lane, jobs: Sequence[Job]) -> float:
    """Jobs a second from a full lane."""
    queue = stoker.queue
    await queue.pause(lane)
    await queue.enqueue_many(jobs)
    name = queue_name(queue.settings, lane)
    started = time.monotonic()
    await queue.resume(lane)
    while await queue.redis.zcard(name) or await queue.redis.zcard(f"{name}:running"):
        if time.monotonic() - started > PATIENCE_S:
            raise NotThere(f"the lane is not empty after {PATIENCE_S:.0f} s")
        await asyncio.sleep(POLL_S)
    return len(jobs) / (time.monotonic() - started)


async def _drained_by(client: Peer, worker: Peer, keys: Sequence[str]) -> float:
    await client.ask("fill", keys=keys)
    began_ns = await worker.ask("work", count=len(keys), **ARQ)
    ended = await worker.ask("ended", timeout_s=PATIENCE_S)
    await worker.ask("rest")
    return 1e9 * len(keys) / float(ended["last_ns"] - began_ns)
