"""A burst of recorded events until all are applied: two worker processes against one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from bench.blocks import alternate
from bench.changes import Change, changes
from bench.figures import Figure
from bench.ground import Bench
from bench.rows.burst import PROJECTS, applied
from stoker import Stoker

IDS = ("relay-2",)
EVENTS = 40_000
MOST_BLOCKS = 3


async def measure(bench: Bench) -> list[Figure]:
    """The events become visible by one commit. The second worker is started for its blocks."""
    blocks = bench.scale.blocks if bench.scale.full else min(bench.scale.blocks, MOST_BLOCKS)
    events = bench.scale.count(EVENTS)
    async with bench.stoker() as stoker, bench.worker(stoker):
        wanted = await changes(stoker, PROJECTS)
        two, one = await alternate(
            blocks, partial(_by_two, bench, stoker, wanted, events), partial(applied, stoker, wanted, events)
        )
    return [
        Figure(
            *("relay-2", "one worker process", "events/s", ">= 1.6", two, one),
            f"{events:,} events become visible by one commit; {os.cpu_count()} processors for both workers "
            "and all servers",
        )
    ]


async def _by_two(bench: Bench, stoker: Stoker, wanted: Sequence[Change], count: int) -> float:
    async with bench.worker(stoker):
        return await applied(stoker, wanted, count)
