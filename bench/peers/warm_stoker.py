"""A fresh process that warms once and reports how much memory that took. URLs come from the environment.

It must be fresh: a process that has warmed before holds the memory already, and its peak would not grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.peers.protocol import serve
from bench.processes import megabytes
from jobs.scopes import PROJECT
from stoker import Domain, EntryKey, Scope, Stoker, Warm, WarmPlan, load_domain
from stoker.handlers.context import JobContext
from stoker.handlers.warm import warm
from stoker.queue.progress import Progress

PROJECTS = text("SELECT id, owner_id FROM projects ORDER BY id LIMIT :count")


def domain(count: int) -> Domain:
    """Projects, of which the first `count` are warmed."""

    async def entries(session: AsyncSession, _scope: Scope | None) -> Sequence[EntryKey]:
        ids = (await session.execute(PROJECTS, {"count": count})).scalars().all()
        return [
            EntryKey(view, scope) for scope in map(PROJECT.scope, ids) for view in ("access", "dashboard")
        ]

    return replace(load_domain("jobs"), warm_plans=(WarmPlan("active", entries),))


async def warm_all(stoker: Stoker) -> None:
    """What the warm job does."""
    progress = Progress(stoker.queue.redis, stoker.queue.settings)
    await warm(JobContext(stoker, progress, "bench"), Warm(target="active"))


def main() -> None:
    """Answer the driver."""

    async def peak_mb(count: int) -> float:
        async with Stoker.opened(domain=domain(count)) as stoker:
            async with stoker.session() as session:
                await session.execute(text("SELECT 1"))
            before = megabytes("VmRSS")
            await warm_all(stoker)
            return megabytes("VmHWM") - before

    serve(peak_mb=peak_mb)


if __name__ == "__main__":
    main()
