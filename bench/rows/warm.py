"""Warming 2,000 dashboards by the warm task, against reading them one by one through the service."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench
from bench.peer import OUR_PYTHON, running
from bench.peers.warm_stoker import PROJECTS, domain, warm_all
from jobs.service import ProjectService
from stoker import Stoker

IDS = ("warm", "warm-memory")
DASHBOARDS = 2_000
ONE_BY_ONE = 200
"""Dashboards of one of the slow side's blocks: its rate does not depend on how many there are."""
MOST_MB = 300.0
MOST_BLOCKS, FRESH_PROCESSES = 6, 2


async def measure(bench: Bench) -> list[Figure]:
    """Both begin with an empty cache and end with the dashboards and the access entries that guard them."""
    count = bench.scale.count(DASHBOARDS)
    blocks = bench.scale.blocks if bench.scale.full else min(bench.scale.blocks, MOST_BLOCKS)
    async with bench.stoker(domain(count)) as stoker:
        async with stoker.session() as session:
            wanted = (await session.execute(PROJECTS, {"count": count})).tuples().all()
        few = wanted if bench.scale.full else wanted[:: max(1, count // bench.scale.count(ONE_BY_ONE))]

        async def warmed() -> float:
            await bench.flush()
            started = time.perf_counter()
            await warm_all(stoker)
            figure = count / (time.perf_counter() - started)
            await _check(stoker, wanted)
            return figure

        async def one_by_one() -> float:
            await bench.flush()
            service = ProjectService(stoker)
            started = time.perf_counter()
            for project, owner in few:
                await service.dashboard(owner, project)
            return len(few) / (time.perf_counter() - started)

        ours, theirs = await alternate(blocks, warmed, one_by_one)
    memory = [await _peak_mb(bench, count) for _ in range(FRESH_PROCESSES)]
    return [
        Figure("warm", "one by one through the service", "dashboards/s", ">= 5", ours, theirs),
        Figure(
            *("warm-memory", "the bound", "MB", "ours <= 300", memory, [MOST_MB] * len(memory)),
            "peak of a fresh process that warms, over what it had before",
        ),
    ]


async def _peak_mb(bench: Bench, count: int) -> float:
    await bench.flush()
    async with running("warm_stoker", python=OUR_PYTHON, env=bench.env) as process:
        return float(await process.ask("peak_mb", count=count))


async def _check(stoker: Stoker, wanted: Sequence[tuple[int, int]]) -> None:
    for project, owner in wanted[:: max(1, len(wanted) // 20)]:
        reading = await stoker.read("dashboard", project, reader=owner)
        assert reading.state == "hit", f"project {project} was not warmed"
