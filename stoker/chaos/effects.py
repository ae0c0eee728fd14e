"""Own jobs with effects in SQL, requested in transactions: each committed request has its effect.

The web apps request them beside a row that says so; the workers write a row for each effect. One kind has its
effect once for each job id, however often it runs. The other, which only the newer release knows, has it each
time. The driver compares both tables at rest.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import Job, JobContext, Lane, Stoker
from stoker.jobs import RetryPolicy

EFFECTS = Lane("chaos_effects", concurrency=6)
TABLES = """
CREATE TABLE chaos_requests (job_id text PRIMARY KEY, kind text NOT NULL);
CREATE TABLE chaos_done (job_id text PRIMARY KEY);
CREATE TABLE chaos_effects (id bigserial PRIMARY KEY, job_id text NOT NULL)
"""


class Effect(Job):
    """A job that writes a row, and then takes some time, in which its worker may die."""

    lane = EFFECTS
    retry = RetryPolicy(attempts=5)
    seconds: float


class Once(Effect):
    """Its effect is there once."""

    kind = "chaos.once.v1"


class EachTime(Effect):
    """Its effect is there once for each run."""

    kind = "chaos.each_time.v1"


async def once(context: JobContext, job: Once) -> None:
    """Write the effect, unless an earlier run has."""
    async with context.stoker.session() as session, session.begin():
        if await session.scalar(_DONE, {"job_id": context.job_id}) is not None:
            await session.execute(_EFFECT, {"job_id": context.job_id})
    await asyncio.sleep(job.seconds)


async def each_time(context: JobContext, job: EachTime) -> None:
    """Write the effect."""
    async with context.stoker.session() as session, session.begin():
        await session.execute(_EFFECT, {"job_id": context.job_id})
    await asyncio.sleep(job.seconds)


async def request(stoker: Stoker, job: Job, *, delay_s: float, commits: bool) -> str:
    """Request a job beside a row that says so; returns its id. Raises UnknownJob in the older release."""
    async with stoker.session() as session:
        job_id = stoker.enqueue_in(session, job, delay=timedelta(seconds=delay_s))
        await session.execute(_REQUEST, {"job_id": job_id, "kind": job.kind})
        await (session.commit() if commits else session.rollback())
    return job_id


async def make_tables(sql: AsyncEngine) -> None:
    """Create what the requests and the jobs write to."""
    async with sql.begin() as connection:
        for statement in TABLES.split(";"):
            await connection.execute(text(statement))


_REQUEST = text("INSERT INTO chaos_requests VALUES (:job_id, :kind)")
_DONE = text("INSERT INTO chaos_done VALUES (:job_id) ON CONFLICT DO NOTHING RETURNING job_id")
_EFFECT = text("INSERT INTO chaos_effects (job_id) VALUES (:job_id)")
