"""Jobs that will not run again by themselves, in Postgres: write, list, count, retry, discard.

A job leaves Redis only after its dead letter has committed (RACES 40). When Postgres does not answer, calls
raise DatabaseUnavailable and nothing has changed. Writing a letter twice is the same as once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, and_, delete, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.errors import InvalidJob
from stoker.jobs import JOBS, Job, Refresh, parse
from stoker.postgres import database_errors
from stoker.postgres.questions import containing
from stoker.queue.enqueue import Queue
from stoker.tables import dead_jobs
from stoker.worker.engine.cause import fingerprint
from stoker.worker.engine.letter import Letter, stored_name

IDENTITY = ("kind", "enqueued_at", "raw")
"""Separates the letters of two jobs with one id."""
RETRIED_AT_ONCE = 500
"""Letters that are retried in one transaction."""


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter as it was kept."""

    id: int
    job_id: str
    lane: str
    kind: str
    payload: Any
    raw: str | None
    reason: str
    error: str
    traceback: str | None
    fingerprint: str
    attempts: int
    enqueued_at: datetime | None
    died_at: datetime


@dataclass(frozen=True)
class Which:
    """A choice of dead letters: all given fields must match. Without any, all letters do."""

    id: int | None = None
    kind: str | None = None
    fingerprint: str | None = None
    job_id: str | None = None
    view: str | None = None
    """Only refreshes of this view."""
    error: str | None = None
    """A part of the error's text, in upper or lower case."""
    since: datetime | None = None
    """Only of jobs that died then or later."""
    up_to: int | None = None
    """No letter after this one."""

    def clause(self) -> ColumnElement[bool]:
        """The choice in SQL."""
        columns = dead_jobs.c
        chosen: ColumnElement[bool] = true()
        for name in ("id", "kind", "fingerprint", "job_id"):
            value = getattr(self, name)
            if value is not None:
                chosen = chosen & (columns[name] == value)
        if self.view is not None:
            chosen = chosen & (columns.kind == Refresh.kind) & (columns.payload["view"].astext == self.view)
        if self.error is not None:
            chosen = chosen & containing(columns.error, self.error)
        if self.since is not None:
            chosen = chosen & (columns.died_at >= self.since)
        return chosen if self.up_to is None else chosen & (columns.id <= self.up_to)


@dataclass(frozen=True)
class Matching:
    """How many letters a choice has, how many there are in all, and the newest id of all."""

    letters: int
    of: int
    newest: int


class Retried(BaseModel):
    """How many letters' jobs were enqueued again, and how many this release cannot read."""

    retried: int
    unreadable: int


class DeadLetters:
    """The table `dead_jobs`."""

    def __init__(self, sql: AsyncEngine) -> None:
        self._sql = sql

    async def bury(self, letter: Letter) -> None:
        """Commit a dead letter. A job that dies again replaces its own letter.

        arq's clients may use an id again for another job. Its letter is then kept beside the first one, under
        the id with a digest of the job.
        """
        row = letter.row()
        with database_errors():
            async with self._sql.begin() as connection:
                if not await _written(connection, row):
                    digest = fingerprint(letter.kind, str(letter.enqueued_ms), str(row["raw"]))
                    reused = stored_name(f"{letter.job_id}~{digest[:8]}")
                    await _written(connection, {**row, "job_id": reused})

    async def list(
        self, which: Which, *, limit: int = 100, before: int | None = None
    ) -> Sequence[DeadLetter]:
        """The newest letters first; `before` is the last id of the page before."""
        older = true() if before is None else dead_jobs.c.id < before
        statement = (
            select(dead_jobs).where(which.clause(), older).order_by(dead_jobs.c.id.desc()).limit(limit)
        )
        with database_errors():
            async with self._sql.connect() as connection:
                return [DeadLetter(**row._mapping) for row in await connection.execute(statement)]  # noqa: SLF001

    async def count_by_lane(self) -> dict[str, int]:
        """How many letters each lane has; lanes without letters are left out."""
        statement = select(dead_jobs.c.lane, func.count().label("letters")).group_by(dead_jobs.c.lane)
        with database_errors():
            async with self._sql.connect() as connection:
                return {row.lane: row.letters for row in await connection.execute(statement)}

    async def count(self, which: Which) -> Matching:
        """How many letters a choice has; exact, by one snapshot."""
        chosen = select(func.count()).select_from(dead_jobs).where(which.clause()).scalar_subquery()
        statement = select(
            chosen.label("letters"),
            func.count().label("of"),
            func.coalesce(func.max(dead_jobs.c.id), 0).label("newest"),
        )
        with database_errors():
            async with self._sql.connect() as connection:
                return Matching(*(await connection.execute(statement)).one())

    async def retry(self, which: Which, queue: Queue, job_types: Mapping[str, type[Job]] = JOBS) -> Retried:
        """Enqueue the jobs of letters again, as new jobs, and delete the letters.

        A crash in between runs a job twice and never loses one. Letters that this release cannot read stay,
        and so do those that came after the call: a job that dies again at once is not retried for ever.
        """
        if which.up_to is None:
            which = replace(which, up_to=(await self.count(which)).newest)
        enqueued, unreadable, after = 0, 0, 0
        while True:
            with database_errors():
                async with self._sql.begin() as connection:
                    statement = (
                        select(dead_jobs.c.id, dead_jobs.c.kind, dead_jobs.c.payload)
                        .where(which.clause(), dead_jobs.c.id > after)
                        .order_by(dead_jobs.c.id)
                        .limit(RETRIED_AT_ONCE)
                        .with_for_update(skip_locked=True)
                    )
                    rows = (await connection.execute(statement)).all()
                    found = {row.id: _job_of(row.kind, row.payload, job_types) for row in rows}
                    readable = {number: job for number, job in found.items() if job is not None}
                    await queue.enqueue_many(list(readable.values()))
                    await connection.execute(delete(dead_jobs).where(dead_jobs.c.id.in_(readable)))
            if not rows:
                return Retried(retried=enqueued, unreadable=unreadable)
            enqueued, unreadable = enqueued + len(readable), unreadable + len(rows) - len(readable)
            after = rows[-1].id

    async def discard(self, which: Which) -> int:
        """Delete letters for good; how many there were."""
        with database_errors():
            async with self._sql.begin() as connection:
                return (await connection.execute(delete(dead_jobs).where(which.clause()))).rowcount


async def _written(connection: AsyncConnection, row: dict[str, Any]) -> bool:
    """Write or replace a letter; false if the id belongs to another job's letter."""
    statement = insert(dead_jobs).values(row)
    new = statement.excluded
    is_same = and_(*(dead_jobs.c[name].is_not_distinct_from(new[name]) for name in IDENTITY))
    written = statement.on_conflict_do_update(
        index_elements=["job_id"],
        set_={**{name: new[name] for name in row if name != "job_id"}, "died_at": func.clock_timestamp()},
        where=is_same,
    ).returning(dead_jobs.c.id)
    return await connection.scalar(written) is not None


def _job_of(
    kind: str,
    payload: Any,  # noqa: ANN401 - whatever was kept
    job_types: Mapping[str, type[Job]],
) -> Job | None:
    try:
        return parse(kind, payload, job_types)
    except InvalidJob:
        return None
