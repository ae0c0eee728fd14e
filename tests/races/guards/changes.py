"""Guards of changes: outbox, relay, breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, event, func, insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

import stoker.cache.breaker
import stoker.cache.store
import stoker.outbox.pending
import stoker.outbox.receipt
import stoker.outbox.scopes
import stoker.parts
from stoker import Domain, Event, Invalidation, Refresh, Scope, Stoker
from stoker.cache.breaker import Breaker, Unsettled
from stoker.cache.catalog import Catalog
from stoker.cache.store import Store
from stoker.errors import CacheUnavailable
from stoker.handlers import relay
from stoker.handlers.relay import Batch, fold
from stoker.jobs import Invalidate
from stoker.outbox import rows
from stoker.outbox.pending import Pending, Recorded
from stoker.outbox.record import Outbox
from stoker.outbox.rows import Alike
from stoker.outbox.scopes import encode, read
from stoker.settings import ChangesSettings
from stoker.tables import cache_events
from stoker.worker.sweeper import Sweeper
from tests.races.guards.away import Patch, Removal, replaced


def _recorded_at_once(self: Outbox, _session: AsyncSession | Session, what: Event) -> None:
    """Write the event in a transaction of its own, as a send to a queue or a message broker would be."""
    engine = create_engine(self._engine.url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    scopes = encode(self._rule(what).invalidates(what), self._domain)
    with engine.begin() as connection:
        connection.execute(
            insert(cache_events).values(kind=what.kind, payload=what.model_dump(mode="json"), scopes=scopes)
        )


_asking: set[asyncio.Task[Any]] = set()


def _asked_after_the_commit(self: Outbox, session: AsyncSession | Session, what: Event) -> None:
    """Enqueue a job after the commit instead of writing a row in the transaction."""
    sync = session.sync_session if isinstance(session, AsyncSession) else session
    wanted = [
        Invalidate(scope_kind=one.scope.kind, scope_id=one.scope.id, views=tuple(one.views), hard=one.hard)
        for one in self._rule(what).invalidates(what)
    ]

    def ask(_: Session) -> None:
        self._ringer.soon([])
        _asking.add(asyncio.ensure_future(self._ringer._bell._queue.enqueue_many(wanted)))  # type: ignore[attr-defined]

    event.listen(sync, "after_commit", ask, once=True)


def _marked(patch: Patch) -> None:
    """A claim is a mark that stays for a time, as in a queue that hides what it hands out."""
    claim = rows.claim

    async def marked(
        connection: AsyncConnection, settings: ChangesSettings, asking: Collection[str]
    ) -> Sequence[Alike]:
        async with connection.engine.begin() as own:
            claimed = await claim(own, settings, asking)
            ids = [one for same in claimed for one in same.ids]
            hidden = {
                "attempts": 1,
                "due_at": func.clock_timestamp() + timedelta(seconds=settings.longest_backoff_s / 2),
            }
            await own.execute(update(cache_events).where(cache_events.c.id.in_(ids)).values(hidden))
        return claimed

    patch.setattr(rows, "claim", marked)


async def _unswept(_: Sweeper) -> None:
    """No sweeper: an event is applied only if a ring announced it."""


def _swallowed(patch: Patch) -> None:
    unlinking = Store.unlink

    async def unlinked(self: Store, stamps: set[str]) -> set[bytes]:
        try:
            return await unlinking(self, stamps)
        except CacheUnavailable:
            return set()

    patch.setattr(Store, "unlink", unlinked)


def _cursor(patch: Patch) -> None:
    claim = rows.claim
    read_up_to = 0

    async def after_cursor(
        connection: AsyncConnection, settings: ChangesSettings, asking: Collection[str]
    ) -> Sequence[Alike]:
        nonlocal read_up_to
        claimed = await claim(connection, settings, asking)
        found = [replace(same, ids=[one for one in same.ids if one > read_up_to]) for same in claimed]
        read_up_to = max([read_up_to, *(one for same in found for one in same.ids)])
        return [same for same in found if same.ids]

    patch.setattr(rows, "claim", after_cursor)


def _frozen_for_ever(patch: Patch) -> None:
    claim = rows.claim

    async def patient(
        connection: AsyncConnection, settings: ChangesSettings, asking: Collection[str]
    ) -> Sequence[Alike]:
        return await claim(connection, settings.model_copy(update={"idle_in_transaction_s": 3600}), asking)

    patch.setattr(rows, "claim", patient)


async def _settled_first(stoker: Stoker) -> Batch:
    async with stoker.engine.begin() as connection:
        claimed = await rows.claim(connection, stoker.settings.changes, stoker.domain.asking_kinds)
        folded = await fold(connection, stoker.domain, claimed)
        ids = [one for same in claimed for one in same.ids]
        await rows.settle(connection, ids)
    await relay.unlink(stoker, folded.invalidations)
    return Batch(len(ids), len(ids), folded.invalidations)


async def _all_or_nothing(
    session: AsyncSession,
    domain: Domain,
    asked: Sequence[Alike],
    invalidations: set[Invalidation],
    _: object,
) -> None:
    rule = domain.rules_by_kind[asked[0].kind]
    events = [rule.event.model_validate_json(one.payload) for one in asked]
    invalidations.update(await rule.audience(session, events))  # type: ignore[misc]


def _unchecked(_domain: Domain, found: Any, _whose: str) -> list[Any]:  # noqa: ANN401 - a rule's answer
    return list(found)


async def _no_audience(*_: object) -> None:
    return


def _scopes_of_notes(scopes: str, catalog: Catalog) -> list[Invalidation]:
    """What is recorded, without the readers whom the writer saw."""
    return [one for one in read(scopes, catalog) if one.scope.kind == "note"]


def _close_when_it_answers(self: Breaker, _state: Unsettled) -> None:
    self.open, self.reason = False, None


async def _refreshed_or_failed(stoker: Stoker, invalidations: frozenset[Invalidation]) -> None:
    """Ask for refreshes as if the queue were as necessary as the cache."""
    await stoker.queue.enqueue_many([Refresh(view="detail", scope_id=one.scope.id) for one in invalidations])


async def _all_unsettled(engine: AsyncEngine) -> Unsettled:
    async with engine.connect() as connection:
        found = await connection.execute(
            text(
                "SELECT clock_timestamp(), (SELECT min(recorded_at) FROM stoker.cache_events"
                " WHERE settled_at IS NULL)"
            )
        )
        return Unsettled(*found.one())


def _claim_without(guard: str, by: str = "") -> Removal:
    """Claim by a statement that lacks something."""

    def remove(patch: Patch) -> None:
        assert guard in rows.CLAIM.text, f"claim.sql has changed: no {guard!r}"
        patch.setattr(rows, "CLAIM", text(rows.CLAIM.text.replace(guard, by)))

    return remove


def _exactly_as_here(stored: Any, catalog: Catalog) -> Invalidation:  # noqa: ANN401 - JSON
    kind, scope_id, views, hard, _every = stored
    return Invalidation(Scope(kind, scope_id), catalog.view_names_by_scope[kind].union(views), bool(hard))


async def _oldest_by_the_clock(engine: AsyncEngine) -> Unsettled:
    async with engine.connect() as connection:
        found = await connection.execute(
            text(
                "SELECT clock_timestamp(), (SELECT min(recorded_at) FROM stoker.cache_events"
                " WHERE settled_at IS NULL AND attempts = 0)"
            )
        )
        return Unsettled(*found.one())


async def _until_it_fails(
    _name: str, step: Callable[[], Awaitable[None]], every_s: Callable[[], float]
) -> None:
    while True:
        await asyncio.sleep(every_s())
        await step()


async def _always_settled(*_: object) -> bool:
    return True


GUARDS: Mapping[str, Removal] = {
    "events as rows": replaced(Outbox, "record", _asked_after_the_commit),
    "the sweeper": replaced(Sweeper, "sweep", _unswept),
    "claims that end with their transaction": _marked,
    "events in the writer's transaction": replaced(Outbox, "record", _recorded_at_once),
    "errors of unlinks raised": _swallowed,
    "rows claimed, not passed by a cursor": _cursor,
    "locked rows skipped": _claim_without("SKIP LOCKED"),
    "idle transactions ended": _frozen_for_ever,
    "settling last": replaced(relay, "apply_batch", _settled_first),
    "a new event being due whatever the clock says": _claim_without("attempts = 0", "false"),
    "backoffs that end though the clock went back": _claim_without(
        "OR due_at > clock_timestamp() + CAST(:longest_backoff AS interval)"
    ),
    "events of the future counting as old": replaced(stoker.parts, "unsettled", _oldest_by_the_clock),
    "errors that can be stored": replaced(rows, "_storable", str),
    "texts of errors as errors": replaced(relay, "_said", str),
    "answers of rules checked": replaced(Domain, "checked", _unchecked),
    "events of which nothing was applied": replaced(stoker.parts, "unsettled", _oldest_by_the_clock),
    "additions of newer releases passed over": replaced(stoker.outbox.scopes, "_decode", _exactly_as_here),
    "loops that go on": replaced(stoker.cache.breaker, "repeat", _until_it_fails),
    "failing events alone": replaced(relay, "_audience", _all_or_nothing),
    "the audience of the moment": replaced(relay, "_audience", _no_audience),
    "the recorded audience": replaced(relay, "read", _scopes_of_notes),
    "refreshes as best effort": replaced(relay, "refresh_hot", _refreshed_or_failed),
    "receipts that check": replaced(stoker.outbox.receipt, "is_settled", _always_settled),
    "ringing at the outermost commit": replaced(Session, "in_nested_transaction", lambda _: False),
    "closing on what SQL says": replaced(Breaker, "_close_when_settled", _close_when_it_answers),
    "failing events not counting as a dead worker": replaced(stoker.parts, "unsettled", _all_unsettled),
    "a rule's timeout being its own fault": replaced(relay, "was_canceled", lambda _: False),
    "asking what became of a commit": replaced(Pending, "begin_commit", lambda _: None),
    "what a savepoint took away written again": replaced(Recorded, "unwrite", lambda _: None),
    "rows flushed where the commit has begun": replaced(
        stoker.outbox.pending, "_must_be_flushed", lambda session: not session.in_transaction()
    ),
    "rows flushed until the commit has ended": replaced(
        stoker.outbox.pending, "_is_outermost", lambda _: True
    ),
    "the session's own choice of a connection asked for": replaced(
        stoker.outbox.pending, "_must_be_flushed", lambda session: isinstance(session.bind, Connection)
    ),
    "outer transactions noticed": replaced(stoker.outbox.pending, "joins_another", lambda _: False),
    "unlinks in groups": replaced(stoker.cache.store, "KEYS_PER_CALL", 10**9),
    "the age of the oldest event": replaced(Unsettled, "oldest_age_s", 0.0),
}
