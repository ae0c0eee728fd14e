"""The application's domain and a captured table beside it: the same rows are in a table without a capture.

Named by STOKER__DOMAIN for the worker of the rows about captures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

import jobs
from bench.ground import Bench, forget_events
from stoker import Access, Capture, EntryKey, Event, Invalidation, Rule, ScopeKind, View
from stoker.captures.install import drop, install
from stoker.postgres import engine_of
from stoker.tables import SCHEMA

ROWS, TENANTS = 100_000, 1000
CAPTURED, BARE = "bench_captured", "bench_uncaptured"
MAKE = """
CREATE TABLE {table} (id bigint PRIMARY KEY, tenant_id int NOT NULL, status text, note text, other int);
INSERT INTO {table} SELECT g, g % {tenants}, 'open', repeat('n', 60), 0 FROM generate_series(1, {rows}) g
"""


class BenchChanged(Event):
    """A row of a tenant changed."""

    kind = "bench.changed"
    tenant_id: int


TENANT = ScopeKind("bench_tenant")


async def load(_session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    """Nothing is read by these rows."""
    return dict.fromkeys(keys)


PAGE = View("bench_page", TENANT.name, load, access=Access.ANYONE)
domain = replace(
    jobs.domain,
    scopes=(*jobs.domain.scopes, TENANT),
    views=(*jobs.domain.views, PAGE),
    rules=(
        *jobs.domain.rules,
        Rule(BenchChanged, lambda event: [Invalidation(TENANT.scope(event.tenant_id), {PAGE})]),
    ),
    captures=(
        *jobs.domain.captures,
        Capture(CAPTURED, BenchChanged, {"tenant_id": "tenant_id"}, columns=("status", "note")),
    ),
)


@asynccontextmanager
async def without_captures(bench: Bench) -> AsyncIterator[None]:
    """No capture on the application's tables, for rows about what the application itself writes."""
    engine = engine_of(bench.urls.database)
    try:
        await drop(engine, SCHEMA, None, print)
        yield
    finally:
        await install(engine, jobs.domain.captures, SCHEMA, print)
        await engine.dispose()
        await forget_events(bench.urls.database)


@asynccontextmanager
async def tables(bench: Bench) -> AsyncIterator[AsyncEngine]:
    """Both tables, and an engine that Stoker does not know; all of it is gone afterwards."""
    engine = engine_of(bench.urls.database, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            for table in (CAPTURED, BARE):
                for statement in MAKE.format(table=table, rows=ROWS, tenants=TENANTS).split(";"):
                    await connection.execute(text(statement))
                await connection.execute(text(f"VACUUM ANALYZE {table}"))
        await install(engine_of(bench.urls.database), domain.captures, SCHEMA, print, drop_left=False)
        yield engine
    finally:
        await drop(engine_of(bench.urls.database), SCHEMA, f"public.{CAPTURED}", print)
        async with engine.connect() as connection:
            await connection.execute(text(f"DROP TABLE IF EXISTS {CAPTURED}, {BARE}"))
            await connection.execute(
                text("DELETE FROM stoker.cache_events WHERE kind = :kind"), {"kind": BenchChanged.kind}
            )
        await engine.dispose()
