"""What a capture costs a writer: one row against `record` and against nothing, and 100,000 rows at once."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from statistics import median

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.blocks import alternate
from bench.captured import BARE, CAPTURED, TENANTS, BenchChanged, domain, tables
from bench.figures import Figure
from bench.ground import Bench
from stoker import Stoker

IDS = ("capture-cost-1", "capture-cost-bare", "capture-cost-bulk")
RUN, RUNS, ROUNDS = 5, 5, 8
"""As in record-cost: short turns, because what a commit costs changes by the tenth of a second."""
PATIENT = {"breaker_unsettled_s": 86400}
"""Events stay unapplied."""
ONE = "UPDATE {} SET status = :status WHERE id = :id"
MANY = "UPDATE {} SET status = :status"
NOTE = "UPDATE by id, COMMIT, in a stoker.session(); one transaction after the other, the ring included"
BULK_NOTE = "one UPDATE of 100,000 rows of 1,000 sets, committed, of a watched column; VACUUM in between"
Side = Callable[[int], Awaitable[None]]


async def measure(bench: Bench) -> list[Figure]:
    """No worker runs, so that only what the writer pays is seen."""
    async with tables(bench) as outside, bench.stoker(domain, **PATIENT) as stoker:
        sides = (_captured(stoker), _recorded(stoker), _plain(outside, CAPTURED), _plain(outside, BARE))
        number = count(1)
        rounds = [
            await _round(sides, number)
            for _ in range(bench.scale.count(bench.scale.blocks * ROUNDS, least=2))
        ]
        captured, recorded, alone, bare = ([one[side] for one in rounds[1:]] for side in range(4))
        many, none = await alternate(
            bench.scale.count(bench.scale.blocks, least=2), _bulk(outside, CAPTURED), _bulk(outside, BARE)
        )
    return [
        Figure("capture-cost-1", "the same with `record`", "us", "<= 1", captured, recorded, NOTE),
        Figure(
            *("capture-cost-bare", "the same without a capture", "us", "<= 1.25", alone, bare),
            "UPDATE by id, committed by itself, by a program that Stoker does not know",
        ),
        Figure("capture-cost-bulk", "the same without a capture", "ms", "<= 1.3", many, none, BULK_NOTE),
    ]


def _captured(stoker: Stoker) -> Side:
    statement = text(ONE.format(CAPTURED))

    async def once(number: int) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(statement, _values(number))

    return once


def _recorded(stoker: Stoker) -> Side:
    statement = text(ONE.format(BARE))

    async def once(number: int) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(statement, _values(number))
            stoker.record(session, BenchChanged(tenant_id=number % TENANTS))

    return once


def _plain(engine: AsyncEngine, table: str) -> Side:
    statement = text(ONE.format(table))

    async def once(number: int) -> None:
        async with engine.connect() as connection:
            await connection.execute(statement, _values(number))

    return once


def _values(number: int) -> dict[str, object]:
    return {"status": f"s{number}", "id": number % 500 + 1}


def _bulk(engine: AsyncEngine, table: str) -> Callable[[], Awaitable[float]]:
    number = count(1)

    async def block() -> float:
        async with engine.connect() as connection:
            await connection.execute(text(f"VACUUM {table}"))
            started = time.perf_counter()
            await connection.execute(text(MANY.format(table)), {"status": f"b{next(number)}"})
            return (time.perf_counter() - started) * 1000

    return block


async def _round(sides: Sequence[Side], number: count[int]) -> list[float]:
    """The median statement of each side, in microseconds; the first of a turn is not counted."""
    took: list[list[float]] = [[] for _ in sides]
    gc.collect()
    for run in range(RUNS):
        for turn in range(len(sides)):
            side = (run + turn) % len(sides)
            times = []
            for _ in range(RUN):
                started = time.perf_counter()
                await sides[side](next(number))
                times.append(time.perf_counter() - started)
            took[side] += times[1:]
    return [median(found) * 1e6 for found in took]
