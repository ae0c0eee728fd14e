"""Recording and applying an event in an outbox of very many settled rows, against one of none."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from statistics import median

from sqlalchemy import text

from bench.figures import Figure
from bench.ground import Bench
from jobs.events import UserChanged
from stoker import Stoker
from stoker.handlers.relay import apply_all

IDS = ("record-at-100M", "apply-at-100M")
SETTLED, SETTLED_FULL = 10**7, 10**8
USERS, SOME_USER = 100, 1
MOST_BLOCKS = 4
EVENTS = 80
"""Recorded, or applied, one after the other: a block."""
DEAD = 50_000
"""Events that were settled since the last vacuum, on both sides: Postgres vacuums after 100,000."""
BARE = (
    "TRUNCATE stoker.cache_events",
    "DROP INDEX stoker.cache_events_settled",
    "DROP INDEX stoker.cache_events_unsettled",
    "ALTER TABLE stoker.cache_events SET (autovacuum_enabled = false)",
)
"""In the transaction that fills the table: with `wal_level=minimal` it writes no log then."""
FILL = """
    INSERT INTO stoker.cache_events (kind, payload, scopes, recorded_at, settled_at)
    SELECT 'user.changed', '{{"user_id": 17}}', '[["user", "17", ["dashboard", "projects"], 0, 1]]', at, at
      FROM generate_series({first}, {last}) AS n,
           LATERAL (SELECT now() - make_interval(secs => ({count} - n) * 0.0008)) AS series(at)
"""
INDEXES = (
    "CREATE INDEX cache_events_settled ON stoker.cache_events (settled_at) WHERE settled_at IS NOT NULL",
    "CREATE INDEX cache_events_unsettled ON stoker.cache_events (recorded_at) WHERE settled_at IS NULL",
    "ANALYZE stoker.cache_events",
)
CHURN = """
    INSERT INTO stoker.cache_events (kind, payload, scopes)
    SELECT 'user.changed', '{{}}', '[]' FROM generate_series(1, {count});
    UPDATE stoker.cache_events SET settled_at = clock_timestamp() WHERE settled_at IS NULL
"""
PORTION = 5_000_000
"""Rows that one statement adds."""
LONGEST_S = 3600
"""For a statement of the filling. Without it, asyncpg would use the connection's own limit of 30 seconds."""
QUICK_COMMIT = text("SET LOCAL synchronous_commit = off")
Act = Callable[[Stoker], Awaitable[float]]
"""Does it once; how many seconds it took."""


async def measure(bench: Bench) -> list[Figure]:
    """Two databases of one server. Commits do not wait for the disk, whose noise would hide a difference."""
    count = SETTLED_FULL if bench.scale.full else bench.scale.count(SETTLED)
    blocks = bench.scale.blocks if bench.scale.full else min(bench.scale.blocks, MOST_BLOCKS)
    async with AsyncExitStack() as stack:
        full, empty = [await _opened(bench, stack, name) for name in ("outbox_full", "outbox_empty")]
        for stoker, rows in ((full, count), (empty, 0)):
            await _fill(stoker, rows)
        recording = await _alternately(blocks, (full, empty), _record)
        for stoker in (full, empty):
            await apply_all(stoker)
        applying = await _alternately(blocks, (full, empty), _apply)
    note = (
        f"{count:,} settled rows, and {DEAD:,} settled since the last vacuum on both sides; commits do not "
        "wait for the disk"
    )
    against = "an outbox of no settled rows"
    return [
        Figure(name, against, "us", "<= 1.1", ours, theirs, note)
        for name, (ours, theirs) in zip(IDS, (recording, applying), strict=True)
    ]


async def _opened(bench: Bench, stack: AsyncExitStack, name: str) -> Stoker:
    own = await stack.enter_async_context(bench.other_database(name, USERS))
    settings = own.settings(prefix=name.replace("_", "-"), breaker_unsettled_s=86400)
    return await stack.enter_async_context(Stoker.opened(settings))


async def _fill(stoker: Stoker, count: int) -> None:
    async with stoker.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        fills = [
            FILL.format(count=count, first=first, last=min(count, first + PORTION - 1))
            for first in range(1, count + 1, PORTION)
        ]
        churn = CHURN.format(count=DEAD)
        for statement in ("BEGIN", *BARE, *fills, *INDEXES, "COMMIT", churn):
            await driver.execute(statement, timeout=LONGEST_S)


async def _alternately(blocks: int, sides: Sequence[Stoker], act: Act) -> list[list[float]]:
    """Medians of blocks, in microseconds; the first block is not counted.

    The sides take turns with each event: of two blocks, one would meet what else the machine does.
    """
    found: list[list[float]] = [[] for _ in sides]
    for block in range(blocks + 1):
        took: list[list[float]] = [[] for _ in sides]
        for event in range(EVENTS):
            for turn in range(len(sides)):
                side = (event + turn) % len(sides)
                took[side].append(await act(sides[side]))
        for side, times in enumerate(took):
            if block > 0:
                found[side].append(median(times) * 1e6)
    return found


async def _apply(stoker: Stoker) -> float:
    """Seconds of a relay that applies one event."""
    await _record(stoker)
    started = time.perf_counter()
    settled = await apply_all(stoker)
    took_s = time.perf_counter() - started
    assert settled == 1
    return took_s


async def _record(stoker: Stoker) -> float:
    """Seconds of a transaction that records one event."""
    started = time.perf_counter()
    async with stoker.session() as session, session.begin():
        await session.execute(QUICK_COMMIT)
        stoker.record(session, UserChanged(user_id=SOME_USER))
    return time.perf_counter() - started
