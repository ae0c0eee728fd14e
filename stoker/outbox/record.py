"""Recording events in the writer's own transaction, and ringing after its outermost commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from stoker import tracing
from stoker.cache.view import Scope
from stoker.domain import Domain
from stoker.errors import BadRequest, DeclarationError
from stoker.outbox.captured import with_rules_asked
from stoker.outbox.databases import KnownDatabases
from stoker.outbox.dbapi import insert_on
from stoker.outbox.inserts import EVENTS
from stoker.outbox.pending import PENDING, Pending, Recorded, Rings, bind_of, joins_another
from stoker.outbox.receipt import Receipt, TransactionReceipt
from stoker.outbox.rows import Alike
from stoker.outbox.scopes import encode
from stoker.postgres import database_errors
from stoker.queue.packing import Request
from stoker.queue.ring import Ringer
from stoker.rules import Event, Invalidation, Rule
from stoker.tables import SCHEMA


class InvalidationRequested(Event):
    """An invalidation that was requested by hand; `scopes` as `encode` writes them."""

    kind: ClassVar[str] = "stoker.invalidation_requested"
    scopes: tuple[tuple[str, str, tuple[str, ...], bool], ...]

    @classmethod
    def of(cls, invalidations: Iterable[Invalidation]) -> InvalidationRequested:
        """The event of these invalidations."""
        return cls(
            scopes=tuple(
                (one.scope.kind, one.scope.id, tuple(sorted(one.views)), one.hard) for one in invalidations
            )
        )

    def invalidations(self) -> list[Invalidation]:
        """The invalidations again."""
        return [
            Invalidation(Scope(kind, id_), frozenset(views), hard) for kind, id_, views, hard in self.scopes
        ]


REQUESTED: Rule[Any] = Rule(InvalidationRequested, InvalidationRequested.invalidations)


AnySession = AsyncSession | Session | async_scoped_session[Any] | scoped_session[Any]
"""Sessions that an event can be recorded in."""
SCOPED = (async_scoped_session, scoped_session)


JOINED = (
    "the session has joined a transaction that its connection had begun, so that its commit does not end it: "
    "give the session a transaction of its own"
)
CAPTURED = text(
    "SELECT id, kind, payload, scopes FROM stoker.cache_events WHERE settled_at IS NULL"
    " AND transaction_id = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
    " AND recorded_by <> 'application'"
)


class Outbox:
    """Records events. After a commit the first of `ringers` rings for events, the second delivers jobs."""

    def __init__(
        self,
        domain: Domain,
        engine: AsyncEngine,
        installation: str,
        ringers: tuple[Ringer[int], Ringer[Request]],
        schema: str = SCHEMA,
    ) -> None:
        self._domain = domain
        self._engine = engine
        self._installation, self._schema = installation, schema
        self._databases = KnownDatabases(engine.sync_engine, installation, schema)
        self._ringer, self._deliverer = ringers

    def record(self, session: AnySession, what: Event) -> Receipt:
        """Record an event in the session's transaction: it becomes true with its commit, or not at all.

        The scopes that the event's rule names are stored with it. See Stoker.record for what it raises.
        """
        return self.recorded(session, what)[1]

    def recorded(self, session: AnySession, what: Event) -> tuple[Recorded, Receipt]:
        """The same, with what waits for the commit."""
        said = self._said(what)
        sync, pending = self.pending(session)
        receipt = Receipt(self._engine)
        return pending.add(sync, said, receipt), receipt

    def follow(self, session: AnySession) -> TransactionReceipt:
        """A receipt of all that the session's transaction records, by triggers too."""
        sync, pending = self.pending(session)
        if joins_another(sync):
            raise DeclarationError(JOINED)
        receipt = TransactionReceipt(self._engine)
        pending.follow(receipt)
        return receipt

    async def recorded_in(self, session: AsyncSession | async_scoped_session[Any]) -> list[Recorded]:
        """The events that the session's commit will make true; raises DeclarationError without any.

        Flushes the session, so that triggers record what its writes change.
        """
        rows: Sequence[Any] = ()
        if self._domain.captures:
            with database_errors():
                await session.flush()
                rows = (await session.execute(CAPTURED)).all()
        return self._all_of(session, rows)

    def recorded_in_sync(self, session: Session | scoped_session[Any]) -> list[Recorded]:
        """The same for a synchronous session."""
        rows: Sequence[Any] = ()
        if self._domain.captures:
            with database_errors():
                session.flush()
                rows = session.execute(CAPTURED).all()
        return self._all_of(session, rows)

    def _all_of(self, session: AnySession, captured: Sequence[Any]) -> list[Recorded]:
        sync, _ = self._of(session)
        pending: Pending | None = sync.info.get(PENDING)
        events = pending.events() if pending is not None else []
        events = [*events, *(self._captured(*row) for row in captured)]
        if not events:
            raise DeclarationError(
                "the session has recorded no event: it has changed nothing that a capture watches, and "
                "`record` was not called"
            )
        if joins_another(sync):
            raise DeclarationError(JOINED)
        return events

    def record_on(self, connection: Any, what: Event) -> tuple[Recorded, Receipt]:  # noqa: ANN401 - of any driver
        """Write an event at once on a DB-API connection; rings after its commit where that can be known.

        Django's connections tell of their commits. Of others the sweeper finds the row. See insert_on for
        what it raises.
        """
        said = self._said(what)
        receipt = Receipt(self._engine)
        row_id = insert_on(connection, said, self._installation, self._schema)
        receipt.unanswered(row_id)  # until it is known, `applied` asks Postgres whether it was committed

        def committed() -> None:
            receipt.committed(row_id)
            self._ringer.soon_from_thread([row_id])

        if (on_commit := getattr(connection, "on_commit", None)) is not None:
            on_commit(committed)
        return Recorded(EVENTS, said, receipt, None), receipt

    def _captured(self, event_id: int, kind: str, payload: Any, scopes: Any) -> Recorded:  # noqa: ANN401 - JSON
        receipt = Receipt(self._engine)
        receipt.committed(event_id)  # it is followed after the commit only
        [found] = with_rules_asked(
            [Alike(kind, json.dumps(scopes), json.dumps(payload), 0, None, [event_id])], self._domain
        )
        said = {"kind": kind, "payload": payload, "scopes": json.loads(found.scopes)}
        return Recorded(EVENTS, said, receipt, None)

    def pending(self, session: AnySession) -> tuple[Session, Pending]:
        """The sync session behind any session, and what waits for its commit.

        A session of another database raises WrongServer, here or at its commit.
        """
        sync, rings = self._of(session)
        known = self._databases.knows(bind_of(sync))
        pending = Pending.of(sync, rings)
        if not known:
            pending.ask_first(sync, self._databases)
        return sync, pending

    def _of(self, session: AnySession) -> tuple[Session, Rings]:
        plain: AsyncSession | Session = session() if isinstance(session, SCOPED) else session
        if isinstance(plain, AsyncSession):
            return plain.sync_session, Rings(self._ringer.soon, self._deliverer.soon)
        if isinstance(plain, Session):
            return plain, Rings(self._ringer.soon_from_thread, self._deliverer.soon_from_thread)
        raise BadRequest(
            f"give a session of SQLAlchemy, such as that of `async with stoker.session()`, not {plain!r:.80}",
            field="session",
        )

    def _said(self, what: Event) -> dict[str, Any]:
        """The row of an event: its kind, fields, scopes and trace."""
        rule = REQUESTED if isinstance(what, InvalidationRequested) else self._rule(what)
        found = self._domain.checked(rule.invalidates(what), f"the rule for {what.kind!r}")
        with tracing.span(f"record {what.kind}", "producer") as trace:
            payload = what.model_dump(mode="json")
        return {
            "kind": what.kind,
            "payload": payload,
            "scopes": encode(found, self._domain),
            "trace": trace,
        }

    def _rule(self, what: Event) -> Rule[Any]:
        kind = getattr(what, "kind", None)
        rule = self._domain.rules_by_kind.get(kind) if kind else None
        if rule is None:
            raise DeclarationError(
                f"no rule for event {kind or what!r:.60}: add Rule({type(what).__name__}, ...) to the rules "
                "of the domain"
            )
        return rule
