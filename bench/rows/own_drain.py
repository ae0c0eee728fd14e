"""Own jobs that do nothing, from a full queue, against the fastest of three job libraries."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from statistics import median

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench
from bench.noop import TINY, Unlink, domain
from bench.rows.burst import HEATS, MOST_BLOCKS, PEERS, rival_of
from bench.rows.drain import SLOTS, drained

IDS = ("own-drain",)
JOBS, JOBS_OF_SHORT_RUN = 20_000, 3_000


async def measure(bench: Bench) -> list[Figure]:
    """One worker process each. Jobs of one command would measure the Redis client that sends it."""
    count = JOBS if bench.scale.full else bench.scale.count(JOBS_OF_SHORT_RUN)
    blocks = bench.scale.blocks if bench.scale.full else min(bench.scale.blocks, MOST_BLOCKS)
    nothing = [""] * count
    async with (
        bench.stoker(domain) as stoker,
        bench.worker(stoker, STOKER__DOMAIN="bench.noop"),
        AsyncExitStack() as stack,
    ):
        rivals = [await rival_of(bench, stack, name) for name in PEERS]
        heats = await alternate(
            min(blocks, HEATS), *(partial(rival.drain, nothing[: count // 2]) for rival in rivals)
        )
        rates = {rival.name: median(found) for rival, found in zip(rivals, heats, strict=True)}
        fastest = max(rivals, key=lambda rival: rates[rival.name])
        jobs = [Unlink(key="") for _ in range(count)]
        ours, theirs = await alternate(
            blocks, partial(drained, stoker, TINY, jobs), partial(fastest.drain, nothing)
        )
    said = ", ".join(f"{name} {found:,.0f}/s" for name, found in rates.items())
    note = f"{count:,} jobs in the queue; {SLOTS} slots of ours; chosen from {said}"
    return [Figure("own-drain", fastest.name, "jobs/s", ">= 1.5", ours, theirs, note)]
