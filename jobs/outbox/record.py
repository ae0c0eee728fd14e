"""Recording events in the writer's own transaction, and ringing after its outermost commit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from jobs import tracing
from jobs.cache.view import Scope
from jobs.domain import Domain, Event, Invalidation, Rule
from jobs.errors import DeclarationError
from jobs.outbox.receipt import CacheEvent, Receipt
from jobs.outbox.scopes import encode
from jobs.ring import Ringer

WAITING = "stoker.receipts"
"""Key of a session's `info` under which its receipts wait for the commit."""


class InvalidationRequested(Event):
    """An operator or a program asked for an invalidation by hand; `scopes` as `encode` writes them."""

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


class Outbox:
    """Records events and rings after their commit."""

    def __init__(self, domain: Domain, engine: AsyncEngine, ringer: Ringer) -> None:
        self._domain = domain
        self._engine = engine
        self._ringer = ringer

    def record(self, session: AsyncSession | Session, what: Event) -> Receipt:
        """Record an event in the session's transaction: it becomes true with its commit, or not at all.

        Works with async and sync sessions. The scopes that the event's rule names are stored with it.
        """
        rule = REQUESTED if isinstance(what, InvalidationRequested) else self._rule(what)
        scopes = encode(rule.invalidates(what), self._domain)
        with tracing.span(f"record {what.kind}", "producer") as trace:
            row = CacheEvent(what.kind, what.model_dump(mode="json"), scopes, trace)
        sync = session.sync_session if isinstance(session, AsyncSession) else session
        sync.add(row)
        receipt = Receipt(row, self._engine)
        self._follow(sync, from_thread=sync is session).append(receipt)
        return receipt

    def _rule(self, what: Event) -> Rule[Any]:
        rule = self._domain.rules_by_kind.get(what.kind)
        if rule is None:
            raise DeclarationError(f"no rule for event {what.kind!r}: declare which views it invalidates")
        return rule

    def _follow(self, session: Session, *, from_thread: bool) -> list[Receipt]:
        waiting: list[Receipt] | None = session.info.get(WAITING)
        if waiting is None:
            waiting = session.info[WAITING] = []
            ring = self._ringer.soon_from_thread if from_thread else self._ringer.soon

            def after_commit(session: Session) -> None:
                # Also called when a savepoint is released: only the outermost commit rings (RACES 43).
                if not waiting or session.in_nested_transaction():
                    return
                if not joins_another(session):
                    for receipt in waiting:
                        receipt.committed()
                    ring()
                waiting.clear()

            def after_end(_session: Session, transaction: SessionTransaction) -> None:
                # Rolled back, or closed without a commit, which has no event of its own.
                if transaction.parent is None:
                    for receipt in waiting:
                        receipt.rolled_back()
                    waiting.clear()

            event.listen(session, "after_commit", after_commit)
            event.listen(session, "after_transaction_end", after_end)
        return waiting


def joins_another(session: Session) -> bool:
    """Whether the session only joined a transaction that its connection had begun.

    What it commits is not committed yet, and nobody here will hear when it is; the sweeper finds its events.
    """
    return isinstance(session.bind, Connection) and session.bind.in_transaction()
