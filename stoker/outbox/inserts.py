"""The rows that a session's commit writes for Stoker: how each of the two tables is written to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Executable, Insert, bindparam, insert, inspect, text
from sqlalchemy.orm import registry
from sqlalchemy.sql.dml import ReturningInsert

from stoker.tables import cache_events, job_requests


class CacheEvent:
    """A row of `cache_events` that makes a session flush."""

    kind: str
    payload: Any
    scopes: Any
    trace: str | None


class JobRequest:
    """A row of `job_requests` that makes a session flush."""

    job_id: str
    lane: str
    kind: str
    arguments: Any
    flag: str
    alone: bool
    fair: str
    due_at: datetime | None
    trace: str | None


registry().map_imperatively(CacheEvent, cache_events, eager_defaults=False)
registry().map_imperatively(JobRequest, job_requests, eager_defaults=False)


class Inserts:
    """A table's row for the unit of work, and its INSERT of one row and of many.

    The INSERT of one row is text: most requests write one, and building an INSERT costs as much as running
    it. Ids are returned where somebody needs them: reading them costs a third of the INSERT. `plain` is for a
    row whose other values are empty: each parameter costs. `bind` is how a session of several engines chooses
    the one to write through.
    """

    def __init__(
        self,
        row: type[CacheEvent | JobRequest],
        one: Executable,
        many: Insert | ReturningInsert[Any],
        json: tuple[str, ...],
        plain: tuple[frozenset[str], Executable] | None = None,
    ) -> None:
        self.row = row
        self.one = one
        self.many = many
        self.json = json
        self.plain = plain
        """The columns that may be empty, and the INSERT without them."""
        self.bind: dict[str, Any] = {"mapper": inspect(row), "clause": many}

    def row_of(self, values: Mapping[str, Any]) -> CacheEvent | JobRequest:
        """The values as a row that a session can add."""
        row = self.row()
        for name, value in values.items():
            setattr(row, name, value)
        return row

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Sequence[int | None]:
        """Insert rows; returns their ids in their order, or None for each where no ids are returned."""
        if len(rows) > 1:
            done = connection.execute(self.many, rows)
            return done.scalars().all() if done.returns_rows else [None] * len(rows)
        written = {**rows[0], **{name: json.dumps(rows[0][name]) for name in self.json}}
        done = connection.execute(self._of_one(written), written)
        # `scalars` prepares for rows of several columns: 33 calls of Python more.
        return [done.scalar_one() if done.returns_rows else None]

    def _of_one(self, row: dict[str, Any]) -> Executable:
        """The INSERT for a row, without the values that it does not take."""
        if self.plain is None or any(row[name] for name in self.plain[0]):
            return self.one
        for name in self.plain[0]:
            del row[name]
        return self.plain[1]


EVENTS = Inserts(
    CacheEvent,
    text(
        "INSERT INTO stoker.cache_events (kind, payload, scopes, trace)"
        " VALUES (:kind, CAST(:payload AS jsonb), CAST(:scopes AS jsonb), :trace) RETURNING id"
    ).columns(cache_events.c.id),
    insert(cache_events).returning(cache_events.c.id, sort_by_parameter_order=True),
    ("payload", "scopes"),
)
REQUESTS = Inserts(
    JobRequest,
    text(
        "INSERT INTO stoker.job_requests (job_id, lane, kind, arguments, flag, alone, fair, due_at, trace)"
        " VALUES (:job_id, :lane, :kind, CAST(:arguments AS jsonb), :flag, :alone, :fair, :due_at, :trace)"
    ).bindparams(bindparam("due_at", type_=DateTime(timezone=True))),
    insert(job_requests),
    ("arguments",),
    (
        frozenset({"flag", "alone", "fair", "due_at", "trace"}),
        text(
            "INSERT INTO stoker.job_requests (job_id, lane, kind, arguments, flag, alone, fair)"
            " VALUES (:job_id, :lane, :kind, CAST(:arguments AS jsonb), '', false, '')"
        ),
    ),
)
