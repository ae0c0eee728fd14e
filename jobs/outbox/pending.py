"""A session's events from their recording to the end of its transaction: inserted, followed, rung for.

Rows are added to the session, so that whatever flushes it writes them; but where Stoker is asked first they
are taken out again and written by an INSERT of their own, at a third of the unit of work's price. The
listeners are on the class: adding some to each session costs more than the row. Touches no Redis.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, event, insert, inspect, text
from sqlalchemy.orm import Session, SessionTransaction, registry

from jobs.outbox.receipt import Receipt
from jobs.tables import cache_events

PENDING = "stoker.pending"
"""Key of a session's `info` under which its events wait for the commit."""
Ring = Callable[[Sequence[int]], None]
"""Told the ids of events that are committed."""
_INSERT_ONE = text(
    # As text: a request records one event, and half of what a built INSERT costs is its building.
    "INSERT INTO cache_events (kind, payload, scopes, trace)"
    " VALUES (:kind, CAST(:payload AS jsonb), CAST(:scopes AS jsonb), :trace) RETURNING id"
)
_INSERT_MANY = insert(cache_events).returning(cache_events.c.id, sort_by_parameter_order=True)


class CacheEvent:
    """A row of `cache_events` that a session inserts."""

    def __init__(self, kind: str, payload: Any, scopes: Any, trace: str | None) -> None:  # noqa: ANN401 - JSON
        self.kind = kind
        self.payload = payload
        self.scopes = scopes
        self.trace = trace


registry().map_imperatively(CacheEvent, cache_events, eager_defaults=False)
_MAPPER = inspect(CacheEvent)


class _Recorded:
    """One event; `within` is the transaction or savepoint whose end without a commit takes it away."""

    __slots__ = ("id", "receipt", "row", "within")

    def __init__(self, row: CacheEvent, receipt: Receipt, session: Session) -> None:
        self.row = row
        self.receipt = receipt
        self.within = innermost(session)
        self.id: int | None = None

    def written_as(self) -> int | None:
        """Its id in the table, be it by the unit of work: recorded while the session was flushing."""
        if self.id is None and (identity := inspect(self.row).identity):
            self.id = identity[0]
        return self.id

    def parameters(self) -> dict[str, Any]:
        """The row as parameters of its INSERT."""
        row = self.row
        return {"kind": row.kind, "payload": row.payload, "scopes": row.scopes, "trace": row.trace}


class Pending:
    """The events of one session's transaction."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._events: list[_Recorded] = []
        self._commit_begun = False

    @classmethod
    def of(cls, session: Session, ring: Ring) -> Pending:
        """Those of a session; `ring` is told of them after the outermost commit."""
        found: Pending | None = session.info.get(PENDING)
        if found is None:
            found = session.info[PENDING] = cls(ring)
        return found

    def add(self, session: Session, row: CacheEvent, receipt: Receipt) -> None:
        """Let the session's next flush insert a row."""
        session.add(row)
        self._events.append(_Recorded(row, receipt, session))

    def write(self, session: Session) -> None:
        """Insert what is not in the table yet. What fails stays, so that a commit after it fails too."""
        new = [one for one in self._events if one.written_as() is None]
        if not new:
            return
        for one in new:
            if one.row in session:  # a session may have been told to forget it: the event counts all the same
                session.expunge(one.row)
        connection = session.connection(bind_arguments={"mapper": _MAPPER})
        rows = [one.parameters() for one in new]
        if len(rows) == 1:
            written = {name: json.dumps(rows[0][name]) for name in ("payload", "scopes")}
            ids = [connection.execute(_INSERT_ONE, {**rows[0], **written}).scalar_one()]
        else:
            ids = list(connection.scalars(_INSERT_MANY, rows))
        for one, event_id in zip(new, ids, strict=True):
            one.id, one.within = event_id, innermost(session)

    def begin_commit(self) -> None:
        """The COMMIT is about to be sent: that the transaction ends no longer says how."""
        self._commit_begun = True

    def rise(self, released: SessionTransaction | None) -> None:
        """A savepoint was released: its events belong to what it was in (RACES 43)."""
        for one in self._events:
            if released is not None and one.within is released:
                one.within = released.parent

    def drop(self, ended: SessionTransaction) -> None:
        """A transaction or savepoint ended: what still belongs to it did not commit."""
        left = []
        for one in self._events:
            if ended.parent is None and self._commit_begun and one.id is not None:
                one.receipt.unanswered(one.id)
            elif one.within is ended or ended.parent is None:
                one.receipt.rolled_back()
            else:
                left.append(one)
        self._events = left

    def commit(self, session: Session) -> None:
        """The outermost transaction has committed."""
        if joins_another(session):
            return
        ids = []
        for one in self._events:
            if (event_id := one.written_as()) is not None:
                one.receipt.committed(event_id)
                ids.append(event_id)
        if ids:
            self._ring(ids)


def innermost(session: Session) -> SessionTransaction | None:
    """The savepoint that the session is in, or else its transaction."""
    return session.get_nested_transaction() or session.get_transaction()


def joins_another(session: Session) -> bool:
    """Whether the session only joined a transaction that its connection had begun.

    What it commits is not committed yet, and nobody here will hear when it is; the sweeper finds its events.
    """
    return isinstance(session.bind, Connection) and session.bind.in_transaction()


def _write(session: Session, *_: object) -> None:
    pending: Pending | None = session.info.get(PENDING)
    if pending is not None:
        pending.write(session)


def _before_commit(session: Session) -> None:
    pending: Pending | None = session.info.get(PENDING)
    if pending is not None:
        pending.write(session)
        if not session.in_nested_transaction():
            pending.begin_commit()


def _after_commit(session: Session) -> None:
    if PENDING not in session.info:
        return
    if session.in_nested_transaction():
        session.info[PENDING].rise(innermost(session))
    else:
        # Popped first: whatever a listener records now belongs to a transaction of its own.
        session.info.pop(PENDING).commit(session)


def _after_transaction_end(session: Session, ended: SessionTransaction) -> None:
    if PENDING in session.info and (ended.nested or ended.parent is None):
        session.info[PENDING].drop(ended)
        if ended.parent is None:
            del session.info[PENDING]


event.listen(Session, "before_flush", _write)
event.listen(Session, "before_commit", _before_commit)
event.listen(Session, "after_commit", _after_commit)
event.listen(Session, "after_transaction_end", _after_transaction_end)
