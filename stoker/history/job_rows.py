"""The table `job_history`: every failure, and the newest successful runs of each kind of job.

Raises DatabaseUnavailable. The number of rows is bounded, so that a listing with any filter reads few.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, null, select, text, true
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Refresh
from stoker.postgres import database_errors
from stoker.postgres.questions import containing
from stoker.tables import job_history

WELL_KEPT = 2_000
"""Successful runs kept of each kind; kinds that this release does not know share one such number."""
FAILURES_KEPT = 50_000
FAILURES_KEPT_DAYS = 30
REFRESHES = 200
"""Runs that are looked through for those of one event or entry."""

INSERT = text(
    "INSERT INTO stoker.job_history (job_id, lane, kind, outcome, failed, attempt, scope, arguments, error,"
    " waited_s, ran_s, ended_at, worker)"
    " SELECT job_id, lane, kind, outcome, failed, attempt, scope, arguments, error,"
    " waited_s, ran_s, ended_at, worker FROM jsonb_to_recordset(CAST(:rows AS jsonb))"
    " AS run (job_id varchar, lane varchar, kind varchar, outcome varchar, failed boolean,"
    " attempt integer, scope varchar, arguments jsonb, error text,"
    " waited_s float8, ran_s float8, ended_at timestamptz, worker varchar)"
)
FORGET_WELL = text(
    "DELETE FROM stoker.job_history WHERE kind = :kind AND NOT failed AND id <="
    " (SELECT id FROM stoker.job_history WHERE kind = :kind AND NOT failed"
    " ORDER BY id DESC OFFSET :kept LIMIT 1)"
)
FORGET_STRANGE = text(
    "DELETE FROM stoker.job_history WHERE kind <> ALL(:kinds) AND NOT failed AND id <="
    " (SELECT id FROM stoker.job_history WHERE kind <> ALL(:kinds) AND NOT failed"
    " ORDER BY id DESC OFFSET :kept LIMIT 1)"
)
FORGET_FAILURES = text(
    "DELETE FROM stoker.job_history WHERE failed"
    " AND (ended_at < clock_timestamp() - make_interval(days => :days)"
    " OR id <= (SELECT id FROM stoker.job_history WHERE failed ORDER BY id DESC OFFSET :kept LIMIT 1))"
)


@dataclass(frozen=True)
class JobRow:
    """One run of one job, ended. `failed`: it raised or ran out of time; `outcome`: what became of it."""

    job_id: str | None
    lane: str
    kind: str
    outcome: str
    failed: bool
    attempt: int
    scope: str | None
    arguments: Any
    error: str | None
    waited_s: float
    ran_s: float
    ended_at: datetime
    worker: str


@dataclass(frozen=True)
class KeptRow(JobRow):
    """A run as it was kept. `view`: of a refresh, also where the arguments are left out."""

    id: int
    view: str | None = None


@dataclass(frozen=True)
class Filter:
    """A choice of runs; None means any. `error` is a part of the message, in upper or lower case."""

    lane: str | None = None
    kind: str | None = None
    outcome: str | None = None
    failed: bool | None = None
    scope: str | None = None
    error: str | None = None
    job_id: str | None = None

    def clause(self) -> ColumnElement[bool]:
        """The choice in SQL."""
        columns = job_history.c
        given = {name: value for name, value in asdict(self).items() if value is not None}
        part = given.pop("error", None)
        found = and_(true(), *(columns[name] == value for name, value in given.items()))
        if part is None:
            return found
        return found & containing(columns.error, part)


class JobHistory:
    """Runs of jobs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, rows: Sequence[JobRow]) -> None:
        """Write runs, in one statement."""
        if not rows:
            return
        with database_errors():
            async with self._engine.begin() as connection:
                # Not asdict, which copies deeply: 10 ms for a hundred rows, during which no job begins.
                await connection.execute(INSERT, {"rows": storable([vars(row) for row in rows])})

    async def forget(self, kinds: Sequence[str]) -> None:
        """Delete what is beyond the bounds; `kinds` are those that this release knows."""
        with database_errors():
            async with self._engine.begin() as connection:
                for kind in kinds:
                    await connection.execute(FORGET_WELL, {"kind": kind, "kept": WELL_KEPT})
                # A client that can write to the queue can invent names, a new one for each job.
                await connection.execute(FORGET_STRANGE, {"kinds": list(kinds), "kept": WELL_KEPT})
                await connection.execute(FORGET_FAILURES, {"days": FAILURES_KEPT_DAYS, "kept": FAILURES_KEPT})

    async def list(
        self, which: Filter, *, limit: int, before: int | None = None, arguments: bool = False
    ) -> Sequence[KeptRow]:
        """The newest first; `before` is the last id of the page before.

        `arguments`: with them. They may be 64 KB each, and a listing does not show them.
        """
        with database_errors():
            async with self._engine.connect() as connection:
                rows = await connection.execute(chosen(which, limit, before, arguments=arguments))
                return [KeptRow(**row) for row in rows.mappings()]

    async def refreshes(
        self, kind: str, scopes: Sequence[str], since: datetime | None, until: datetime | None = None
    ) -> Sequence[KeptRow]:
        """Runs of this kind about these scopes that ended in a time, in order."""
        columns = job_history.c
        query = _columns().where(columns.kind == kind, columns.scope.in_(scopes))
        if since is not None:
            query = query.where(columns.ended_at >= since)
        if until is not None:
            query = query.where(columns.ended_at <= until)
        with database_errors():
            async with self._engine.connect() as connection:
                rows = await connection.execute(query.order_by(columns.id).limit(REFRESHES))
                return [KeptRow(**row) for row in rows.mappings()]

    async def count(self, which: Filter) -> int:
        """How many runs match that are kept."""
        query = select(func.count()).select_from(job_history).where(which.clause())
        with database_errors():
            async with self._engine.connect() as connection:
                return int(await connection.scalar(query) or 0)


def chosen(which: Filter, limit: int, before: int | None = None, *, arguments: bool = False) -> Select[Any]:
    """A page of runs, the newest first."""
    query = _columns(arguments=arguments).where(which.clause())
    query = query.order_by(job_history.c.id.desc()).limit(limit)
    return query if before is None else query.where(job_history.c.id < before)


def _columns(*, arguments: bool = False) -> Select[Any]:
    columns = job_history.c
    shown = [
        null().label("arguments") if column.name == "arguments" and not arguments else column
        for column in columns
    ]
    # Only of refreshes: others' arguments may be large, and their `view` may be anything.
    view = case((columns.kind == Refresh.kind, columns.arguments["view"].astext), else_=None)
    return select(*shown, view.label("view"))


def storable(rows: Sequence[dict[str, Any]]) -> str:
    """JSON that Postgres accepts, whatever an error holds: it refuses NUL and lone surrogates."""
    written = json.dumps(rows, ensure_ascii=False, default=datetime.isoformat)
    return written.encode(errors="replace").decode().replace("\\u0000", "\\ufffd")
