"""A session's events and requested jobs, from their recording to the end of its transaction.

They are written by an INSERT of their own before the commit, which costs a fraction of what the unit of work
takes in a request that maps no other rows. Only where a commit might not call Stoker's listeners (see
`_must_be_flushed`) does a row go into the session, so that whatever flushes the session writes it. The
listeners are on the class, because adding listeners to each session costs more than the row. Touches no
Redis.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.orm import Session, SessionTransaction

from stoker.outbox.databases import KnownDatabases
from stoker.outbox.inserts import EVENTS, REQUESTS, CacheEvent, Inserts, JobRequest
from stoker.outbox.receipt import Receipt, TransactionReceipt
from stoker.queue.packing import Request

logger = logging.getLogger(__name__)

PENDING = "stoker.pending"
"""Key of a session's `info` under which its events wait for the commit."""
COMMITTING = "stoker.committing"
"""Key of a session's `info` while it commits."""
_TRANSACTION = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")


class Rings(NamedTuple):
    """Who is told the ids of committed events, and the committed requests for jobs."""

    events: Callable[[Sequence[int]], None]
    requests: Callable[[Sequence[Request]], None]


class Recorded:
    """One event, with its receipt, or one requested job.

    When a transaction or savepoint ends without a commit, what was recorded `within` it is gone, and so are
    rows that were `written_in` it. Rows of what was recorded before it are written again.
    """

    __slots__ = ("id", "inserts", "receipt", "request", "row", "said", "within", "written_in")

    def __init__(
        self,
        inserts: Inserts,
        said: Mapping[str, Any],
        receipt: Receipt | None,
        within: SessionTransaction | None,
        request: Request | None = None,
    ) -> None:
        self.inserts = inserts
        self.said = said
        self.receipt = receipt
        self.request = request
        self.within = within
        self.written_in: SessionTransaction | None = None
        self.row: CacheEvent | JobRequest | None = None
        self.id: int | None = None

    def is_written(self) -> bool:
        """Whether its row is in the table, also where the unit of work has written it."""
        if self.written_in is not None:
            return True
        if self.row is None or (identity := inspect(self.row).identity) is None:
            return False
        self.id = identity[0]
        return True

    def unwrite(self) -> None:
        """Its row is gone and must be written again."""
        self.id = self.written_in = None


class Pending:
    """The events and requested jobs of one session's transaction."""

    def __init__(self, rings: Rings) -> None:
        self._rings = rings
        self._rows: list[Recorded] = []
        self._commits = 0
        self._followed: list[TransactionReceipt] = []
        self._transaction_id: int | None = None
        self._unasked: set[KnownDatabases] = set()

    @classmethod
    def of(cls, session: Session, rings: Rings) -> Pending:
        """The pending rows of a session; `rings` are told of them after the outermost commit."""
        found: Pending | None = session.info.get(PENDING)
        if found is None:
            found = session.info[PENDING] = cls(rings)
        return found

    def ask_first(self, session: Session, databases: KnownDatabases) -> None:
        """Before anything is written, ask where the session's engine leads; at once while it commits."""
        if COMMITTING in session.info:
            databases.ask(session.connection(bind_arguments=EVENTS.bind))
        else:
            self._unasked.add(databases)

    def add(self, session: Session, said: Mapping[str, Any], receipt: Receipt) -> Recorded:
        """Insert an event before the session's commit: kind, payload and scopes as JSON, trace."""
        recorded = Recorded(EVENTS, said, receipt, innermost(session))
        self._add(session, recorded)
        return recorded

    def follow(self, receipt: TransactionReceipt) -> None:
        """Tell a receipt of the transaction's id, and of its end."""
        self._followed.append(receipt)

    def add_request(self, session: Session, said: Mapping[str, Any], request: Request) -> None:
        """Insert a requested job before the session's commit: a value for each column that has no default.

        `request` is delivered after the commit.
        """
        self._add(session, Recorded(REQUESTS, said, None, innermost(session), request))

    def _add(self, session: Session, one: Recorded) -> None:
        if _must_be_flushed(session):
            one.row = one.inserts.row_of(one.said)
            session.add(one.row)
            one.within = innermost(session)
        self._rows.append(one)

    def events(self) -> list[Recorded]:
        """The events that wait for the commit."""
        return [one for one in self._rows if one.receipt is not None]

    def write(self, session: Session) -> None:
        """Insert what is not in its table yet. What fails stays, so that the next commit fails too."""
        for databases in self._unasked:
            databases.ask(session.connection(bind_arguments=EVENTS.bind))
        self._unasked.clear()
        for inserts in (EVENTS, REQUESTS):
            self._insert(session, inserts)

    def _insert(self, session: Session, inserts: Inserts) -> None:
        new = [one for one in self._rows if one.inserts is inserts and not one.is_written()]
        if not new:
            return
        for one in new:
            if one.row is not None and one.row in session:
                session.expunge(one.row)
        connection = session.connection(bind_arguments=inserts.bind)
        ids = inserts.execute(connection, [one.said for one in new])
        for one, row_id in zip(new, ids, strict=True):
            one.id, one.written_in = row_id, innermost(session)

    def ask_transaction(self, session: Session) -> None:
        """Learn the transaction's id before its commit, if a receipt follows it."""
        if self._followed and self._transaction_id is None:
            connection = session.connection(bind_arguments=EVENTS.bind)
            self._transaction_id = connection.scalar(_TRANSACTION)

    def begin_commit(self) -> None:
        """A COMMIT or RELEASE is about to be sent: from now on, an end does not say whether it committed."""
        self._commits += 1

    def rise(self, released: SessionTransaction | None) -> None:
        """A savepoint was released: what was recorded in it belongs to what it was in (RACES 43)."""
        self._commits = max(0, self._commits - 1)  # the first event may have come after the RELEASE was begun
        if released is None:
            return
        for one in self._rows:
            if one.within is released:
                one.within = released.parent
            if one.written_in is released:
                one.written_in = released.parent

    def drop(self, ended: SessionTransaction) -> None:
        """A transaction or savepoint ended: what still belongs to it did not commit."""
        if ended.parent is None:
            for receipt in self._followed:
                if self._commits > 0 and self._transaction_id is not None:
                    receipt.unanswered(self._transaction_id)
                else:
                    receipt.rolled_back()
        left = []
        for one in self._rows:
            if ended.parent is None and self._commits > 0 and one.id is not None:
                if one.receipt is not None:
                    one.receipt.unanswered(one.id)
            elif one.within is ended or ended.parent is None:
                if one.receipt is not None:
                    one.receipt.rolled_back()
            else:
                if one.written_in is ended:
                    one.unwrite()
                left.append(one)
        self._rows = left

    def commit(self, session: Session) -> None:
        """The outermost transaction has committed."""
        if joins_another(session):
            return
        for receipt in self._followed:
            if self._transaction_id is not None:
                receipt.committed(self._transaction_id)
        events: list[int] = []
        requests: list[Request] = []
        for one in self._rows:
            if not one.is_written():
                logger.error("outbox.not_written", extra={"event": one.said["kind"]})
            elif one.request is not None:
                requests.append(one.request)
            elif one.receipt is not None and one.id is not None:
                one.receipt.committed(one.id)
                events.append(one.id)
        if events:
            self._rings.events(events)
        if requests:
            self._rings.requests(requests)


def bind_of(session: Session) -> Engine | Connection:
    """The engine, or the caller's connection, that the session writes events through."""
    return session.get_bind(**EVENTS.bind)


def innermost(session: Session) -> SessionTransaction | None:
    """The savepoint that the session is in, or else its transaction."""
    return session.get_nested_transaction() or session.get_transaction()


def _is_outermost(transaction: SessionTransaction) -> bool:
    """Whether it is the transaction itself, not a savepoint or a flush in it."""
    return transaction.parent is None


def joins_another(session: Session) -> bool:
    """Whether the session only joined a transaction that its connection had begun.

    What it commits is not committed yet, and no listener here is called when it is; the sweeper finds its
    events.
    """
    bind = bind_of(session)
    return isinstance(bind, Connection) and bind.in_transaction()


def _must_be_flushed(session: Session) -> bool:
    """Whether a commit might not write what is only noted here.

    A session without a transaction begins one, as for any row, or says why it cannot. Where the session is on
    its caller's connection, the caller may commit that connection after a flush. And a listener that records
    while a commit, or perhaps a savepoint's release, is under way is called after ours.
    """
    return (
        COMMITTING in session.info or not session.in_transaction() or isinstance(bind_of(session), Connection)
    )


def _write(session: Session, *_: object) -> None:
    pending: Pending | None = session.info.get(PENDING)
    if pending is not None:
        pending.write(session)


def _before_commit(session: Session) -> None:
    session.info[COMMITTING] = True
    pending: Pending | None = session.info.get(PENDING)
    if pending is not None:
        pending.write(session)
        pending.ask_transaction(session)
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
    if _is_outermost(ended):
        session.info.pop(COMMITTING, None)
    if PENDING in session.info and (ended.nested or ended.parent is None):
        session.info[PENDING].drop(ended)
        if ended.parent is None:
            del session.info[PENDING]


event.listen(Session, "before_flush", _write)
event.listen(Session, "before_commit", _before_commit)
event.listen(Session, "after_commit", _after_commit)
event.listen(Session, "after_transaction_end", _after_transaction_end)
