"""A transaction that requests a job with `enqueue_in`, against the same with one INSERT.

One peer is a bare INSERT of constants. The other is what an outbox written by hand inserts: bound values, an
id, a time, an index of the rows that nobody has sent yet; by `text`, the fastest way that SQLAlchemy has.
"""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from sqlalchemy import text

from bench.captured import without_captures
from bench.changes import Change, changes
from bench.figures import Figure
from bench.ground import Bench
from bench.noop import Unlink, domain
from stoker import Stoker

IDS = ("enqueue-in", "enqueue-in-outbox")
RUN, RUNS, ROUNDS = 5, 5, 8
"""As in record-cost: short turns, because what a commit costs changes by the tenth of a second."""
BARE_TABLE = text(
    "CREATE TABLE IF NOT EXISTS bench_request (seq bigserial PRIMARY KEY, kind text, arguments jsonb)"
)
BARE = text("INSERT INTO bench_request (kind, arguments) VALUES ('bench.unlink', '{\"key\": \"a\"}')")
OUTBOX_TABLE = text(
    "CREATE TABLE IF NOT EXISTS bench_outbox (id bigserial PRIMARY KEY, job_id text NOT NULL,"
    " queue text NOT NULL, kind text NOT NULL, arguments jsonb NOT NULL,"
    " created_at timestamptz NOT NULL DEFAULT now(), sent_at timestamptz)"
)
OUTBOX_INDEX = text(
    "CREATE INDEX IF NOT EXISTS bench_outbox_unsent ON bench_outbox (id) WHERE sent_at IS NULL"
)
OUTBOX = text(
    "INSERT INTO bench_outbox (job_id, queue, kind, arguments)"
    " VALUES (:job_id, :queue, :kind, CAST(:arguments AS jsonb))"
)
CHANGE = text("UPDATE projects SET intended_use = 'Measure.' WHERE id = :id")
Side = Callable[[Change], Awaitable[None]]


async def measure(bench: Bench) -> list[Figure]:
    """No worker runs, so that only what the requesting process pays is seen, the ring included."""
    async with without_captures(bench), bench.stoker(domain) as stoker:
        async with stoker.session() as session, session.begin():
            for statement in (BARE_TABLE, OUTBOX_TABLE, OUTBOX_INDEX):
                await session.execute(statement)
        sides = (_requesting(stoker), _inserting(stoker), _by_hand(stoker))
        wanted = await changes(stoker, RUN)
        rounds = [
            await _round(sides, wanted)
            for _ in range(bench.scale.count(bench.scale.blocks * ROUNDS, least=2))
        ]
        async with stoker.session() as session, session.begin():
            await session.execute(text("TRUNCATE stoker.job_requests, bench_request, bench_outbox"))
    ours, bare, outbox = ([one[side] for one in rounds[1:]] for side in range(3))
    note = "UPDATE of a project, the request or the row, COMMIT; one transaction after the other"
    return [
        Figure("enqueue-in", "the same with a bare INSERT", "us", "<= 1.05", ours, bare, note),
        Figure(
            *("enqueue-in-outbox", "the same with an outbox written by hand", "us", "<= 1.05", ours, outbox),
            "the row of the other side is written, and nobody is told of it",
        ),
    ]


def _requesting(stoker: Stoker) -> Side:
    async def once(change: Change) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(CHANGE, {"id": change.project})
            stoker.enqueue_in(session, Unlink(key="a"))

    return once


def _inserting(stoker: Stoker) -> Side:
    async def once(change: Change) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(CHANGE, {"id": change.project})
            await session.execute(BARE)

    return once


def _by_hand(stoker: Stoker) -> Side:
    async def once(change: Change) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(CHANGE, {"id": change.project})
            job = Unlink(key="a")
            said = {"kind": job.kind, "arguments": job.model_dump_json()}
            await session.execute(OUTBOX, {"job_id": str(uuid.uuid4()), "queue": str(job.lane), **said})

    return once


async def _round(sides: Sequence[Side], wanted: Sequence[Change]) -> list[float]:
    """The median transaction of each side, in microseconds."""
    took: list[list[float]] = [[] for _ in sides]
    gc.collect()
    for run in range(RUNS):
        for turn in range(len(sides)):
            side = (run + turn) % len(sides)
            took[side] += (await _times(sides[side], wanted))[1:]
    return [median(found) * 1e6 for found in took]


async def _times(side: Side, wanted: Sequence[Change]) -> list[float]:
    took: list[float] = []
    for one in wanted:
        started = time.perf_counter()
        await side(one)
        took.append(time.perf_counter() - started)
    return took
