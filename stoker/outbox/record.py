"""Recording events in the writer's own transaction, and ringing after its outermost commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from stoker import tracing
from stoker.cache.view import Scope
from stoker.domain import Domain, Event, Invalidation, Rule
from stoker.errors import DeclarationError
from stoker.outbox.pending import Pending
from stoker.outbox.receipt import Receipt
from stoker.outbox.scopes import encode
from stoker.queue.ring import Ringer


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

    def __init__(
        self, domain: Domain, engine: AsyncEngine, ringer: Ringer, on_applied: Callable[[], None]
    ) -> None:
        self._domain = domain
        self._on_applied = on_applied
        self._engine = engine
        self._ringer = ringer

    def record(self, session: AsyncSession | Session, what: Event) -> Receipt:
        """Record an event in the session's transaction: it becomes true with its commit, or not at all.

        Works with async and sync sessions. The scopes that the event's rule names are stored with it. The row
        is written right before the session commits: do not commit its connection past the session.
        """
        rule = REQUESTED if isinstance(what, InvalidationRequested) else self._rule(what)
        scopes = encode(rule.invalidates(what), self._domain)
        with tracing.span(f"record {what.kind}", "producer") as trace:
            payload = what.model_dump(mode="json")
        said = {"kind": what.kind, "payload": payload, "scopes": scopes, "trace": trace}
        receipt = Receipt(self._engine, self._on_applied)
        if isinstance(session, AsyncSession):
            sync, ring = session.sync_session, self._ringer.soon
        else:
            sync, ring = session, self._ringer.soon_from_thread
        Pending.of(sync, ring).add(sync, said, receipt)
        return receipt

    def _rule(self, what: Event) -> Rule[Any]:
        rule = self._domain.rules_by_kind.get(what.kind)
        if rule is None:
            raise DeclarationError(f"no rule for event {what.kind!r}: declare which views it invalidates")
        return rule
