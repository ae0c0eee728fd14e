"""From the commit of a captured change to its stamp being gone, against a change that the session records."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from sqlalchemy import text

from bench.blocks import alternate, at_rate
from bench.captured import BARE, CAPTURED, PAGE, TENANT, BenchChanged, domain, tables
from bench.figures import Figure, percentile
from bench.ground import Bench
from bench.peer import OUR_PYTHON, running
from stoker import EntryKey, Stoker

IDS = (
    *("capture-applied-p50", "capture-applied-p99"),
    *("capture-applied-session-p50", "capture-applied-session-p99"),
)
PER_SECOND = 50
BLOCK_S = 4.0
PATIENCE_S = 15.0
UPDATE = "UPDATE {} SET status = :status WHERE id = :id"
NOTE = "50 commits a second; from the answer to the COMMIT to the cache's event that the stamp is deleted"
Write = Callable[[int], Awaitable[None]]


async def measure(bench: Bench) -> list[Figure]:
    """Worker and watcher are processes of their own."""
    tenants = range(1, bench.scale.count(int(PER_SECOND * BLOCK_S), least=20) + 1)
    async with (
        tables(bench) as outside,
        bench.stoker(domain) as stoker,
        bench.worker(stoker, STOKER__DOMAIN="bench.captured") as _,
        running("watcher", bench.urls.cache, python=OUR_PYTHON) as watcher,
    ):
        waited: dict[str, list[list[float]]] = {"outside": [], "session": [], "record": []}

        async def by_program(tenant: int) -> None:
            async with outside.connect() as connection:
                await connection.execute(text(UPDATE.format(CAPTURED)), _values(tenant))

        async def by_session(tenant: int) -> None:
            async with stoker.session() as session, session.begin():
                await session.execute(text(UPDATE.format(CAPTURED)), _values(tenant))

        async def by_record(tenant: int) -> None:
            async with stoker.session() as session, session.begin():
                await session.execute(text(UPDATE.format(BARE)), _values(tenant))
                stoker.record(session, BenchChanged(tenant_id=tenant))

        async def block(side: str, write: Write) -> float:
            stamps = await _stamped(stoker, tenants)
            await watcher.ask("forget")
            answered: dict[str, int] = {}

            async def once(tenant: int) -> None:
                await write(tenant)
                answered[stamps[tenant]] = time.time_ns()

            await at_rate(PER_SECOND, [partial(once, tenant) for tenant in tenants])
            gone = await watcher.ask("seen", count=len(tenants), timeout_s=PATIENCE_S)
            waited[side].append([(gone[stamp] - at) / 1e6 for stamp, at in answered.items()])
            return percentile(waited[side][-1], 0.5)

        await alternate(
            bench.scale.blocks,
            partial(block, "outside", by_program),
            partial(block, "session", by_session),
            partial(block, "record", by_record),
        )
    return [
        *(_figure(IDS[place], share, waited, "outside", "ours <= 1200", NOTE) for place, share in PLACES),
        *(_figure(IDS[2 + place], share, waited, "session", "<= 1.2", NOTE) for place, share in PLACES),
    ]


PLACES = ((0, 0.5), (1, 0.99))


def _figure(
    row: str, share: float, waited: dict[str, list[list[float]]], side: str, wanted: str, note: str
) -> Figure:
    ours, recorded = [[percentile(block, share) for block in waited[one][1:]] for one in (side, "record")]
    return Figure(row, "a stoker.session() that records", "ms", wanted, ours, recorded, note)


async def _stamped(stoker: Stoker, tenants: Sequence[int]) -> dict[int, str]:
    """Give the pages of tenants stamps, as a read that misses does."""
    keys = stoker.cache.store.keys
    await stoker.cache.store.begin([keys.entry(EntryKey(PAGE.name, TENANT.scope(one))) for one in tenants])
    return {one: keys.stamp(TENANT.scope(one), PAGE.name) for one in tenants}


def _values(tenant: int) -> dict[str, object]:
    # Rows 1 to 999 are of the tenant of their number; the value is always another one.
    return {"id": tenant, "status": f"s{time.monotonic_ns()}"}
