"""Warming 2,000 dashboards by the warm task, against reading them one by one through the service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs import Domain, EntryKey, Scope, Stoker, Warm, WarmPlan, load_domain
from jobs.progress import Progress
from jobs.projects.scopes import PROJECT
from jobs.projects.service import ProjectService
from jobs.tasks.context import TaskContext
from jobs.tasks.warm import warm
from tests.bench.blocks import alternate
from tests.bench.figures import Figure
from tests.bench.ground import DOMAIN, Bench

IDS = ("warm", "warm-memory")
DASHBOARDS = 2_000
ONE_BY_ONE = 200
"""Dashboards of one of the slow side's blocks: its rate does not depend on how many there are."""
MOST_MB = 300.0
PROJECTS = text("SELECT id, owner_id FROM projects ORDER BY id LIMIT :count")


async def measure(bench: Bench) -> list[Figure]:
    """Both begin with an empty cache and end with the dashboards and the access entries that guard them."""
    count = bench.scale.count(DASHBOARDS)
    memory: list[float] = []
    async with bench.stoker(_domain(count)) as stoker:
        async with stoker.session() as session:
            wanted = (await session.execute(PROJECTS, {"count": count})).tuples().all()
        few = wanted if bench.scale.full else wanted[:: max(1, count // bench.scale.count(ONE_BY_ONE))]
        context = TaskContext(stoker, Progress(stoker.queue.redis, stoker.queue.settings), "bench")

        async def warmed() -> float:
            await bench.flush()
            before = _megabytes("VmRSS")
            _forget_peak()
            started = time.perf_counter()
            await warm(context, Warm(target="active"))
            figure = count / (time.perf_counter() - started)
            memory.append(max(0.0, _megabytes("VmHWM") - before))
            await _check(stoker, wanted)
            return figure

        async def one_by_one() -> float:
            await bench.flush()
            service = ProjectService(stoker)
            started = time.perf_counter()
            for project, owner in few:
                await service.dashboard(owner, project)
            return len(few) / (time.perf_counter() - started)

        ours, theirs = await alternate(bench.scale.blocks, warmed, one_by_one)
    return [
        Figure("warm", "one by one through the service", "dashboards/s", ">= 5", ours, theirs),
        Figure(
            *("warm-memory", "the bound", "MB", "ours <= 300"),
            *([max(memory)] * len(ours), [MOST_MB] * len(ours)),
            "peak of the process during the warming over what it had before, in the worst block",
        ),
    ]


def _domain(count: int) -> Domain:
    async def entries(session: AsyncSession, _scope: Scope | None) -> Sequence[EntryKey]:
        ids = (await session.execute(PROJECTS, {"count": count})).scalars().all()
        return [
            EntryKey(view, scope) for scope in map(PROJECT.scope, ids) for view in ("access", "dashboard")
        ]

    return replace(load_domain(DOMAIN), warm_plans=(WarmPlan("active", entries),))


async def _check(stoker: Stoker, wanted: Sequence[tuple[int, int]]) -> None:
    for project, owner in wanted[:: max(1, len(wanted) // 20)]:
        reading = await stoker.read("dashboard", project, reader=owner)
        assert reading.state == "hit", f"project {project} was not warmed"


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _megabytes(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)
