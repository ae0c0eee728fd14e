"""The relay: applies recorded events to the cache.

Called by the `relay` job that a commit rings for, and directly by the worker's sweeper: no queue, flag or
pause stands between a recorded event and the cache. Applying is idempotent; being killed anywhere only
means that it is done again (RACES 27).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from jobs import tracing
from jobs.cache.accounting import CHANGES
from jobs.cache.reads import last_reads
from jobs.cache.view import EntryKey, Scope
from jobs.connections import database_errors, is_outage, was_canceled
from jobs.contracts import Outcome, Refresh, Relay
from jobs.domain import Domain, Event, Invalidation, Rule
from jobs.errors import CacheUnavailable, DatabaseUnavailable, QueueUnavailable
from jobs.outbox import rows as outbox
from jobs.outbox.rows import UNREADABLE, Row
from jobs.outbox.scopes import read
from jobs.stoker import Stoker
from jobs.tasks.context import TaskContext

logger = logging.getLogger(__name__)

HOT_LOOKED_AT = 5000
"""Entries of one batch whose last read is looked up; a burst that changed more is left to the next reads."""
HOT_PER_BATCH = 500
"""Entries of one batch that are refreshed at most; the rest is built by the next read."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch of events invalidates, and which rows failed alone: id -> (attempts, error)."""

    invalidations: frozenset[Invalidation]
    failed: dict[int, tuple[int, str]]


async def relay(context: TaskContext, _job: Relay) -> Outcome:
    """Apply everything recorded so far. The waiting flag was cleared before this began (RACES 10)."""
    await apply_all(context.stoker)
    return Outcome.DONE


async def apply_all(stoker: Stoker) -> int:
    """Apply batches until none is left; returns how many events were settled."""
    settled = 0
    while True:
        claimed, done = await apply_batch(stoker)
        settled += done
        if claimed < stoker.settings.changes.batch:
            return settled


async def apply_batch(stoker: Stoker) -> tuple[int, int]:
    """Claim, fold, unlink, settle, commit: one batch. Returns how many were claimed and settled.

    Raises CacheUnavailable or DatabaseUnavailable; the rows then stay as they were.
    """
    changes = stoker.settings.changes
    started_ns = time.time_ns()
    with database_errors():
        async with stoker.engine.begin() as connection:
            rows = await outbox.claim(connection, changes)
            if not rows:
                return 0, 0
            folded = await fold(connection, stoker.domain, rows)
            await unlink(stoker, folded.invalidations)
            done = [row.id for row in rows if row.id not in folded.failed]
            waited_s = await outbox.settle(connection, done)
            await outbox.postpone(connection, folded.failed, changes)
    waited_us = [max(0, round(seconds * 1_000_000)) for seconds in waited_s]
    stoker.accounting.observe_all(CHANGES, "applied", waited_us)
    for row_id, (attempts, error) in folded.failed.items():
        logger.error("event.failed", extra={"event_id": row_id, "attempts": attempts + 1, "error": error})
    traces = _traced(rows, stoker.domain, started_ns)
    if changes.refresh_hot:
        await refresh_hot(stoker, folded.invalidations, traces)
    return len(rows), len(done)


async def unlink(stoker: Stoker, invalidations: frozenset[Invalidation]) -> None:
    """Unlink every stamp of these invalidations and wait for the acknowledgement."""
    store = stoker.cache.store
    stamps: set[str] = set()
    for one in invalidations:
        stamps |= store.stamps_of(one.scope, one.views, hard=one.hard)
    await store.unlink(stamps)


async def fold(connection: AsyncConnection, domain: Domain, rows: Sequence[Row]) -> Folded:
    """Everything that the rows invalidate: what they carry, and what their rules say now (RACES 32)."""
    invalidations: set[Invalidation] = set()
    failed: dict[int, tuple[int, str]] = {}
    by_kind: dict[str, list[Row]] = {}
    seen: set[str] = set()
    for row in rows:
        try:
            if row.scopes not in seen:
                invalidations.update(read(row.scopes, domain))
                seen.add(row.scopes)
        except (ValueError, TypeError) as error:
            failed[row.id] = (row.attempts, f"{UNREADABLE}: {error}")
        else:
            by_kind.setdefault(row.kind, []).append(row)
    session = AsyncSession(bind=connection, join_transaction_mode="create_savepoint")
    for kind, same in by_kind.items():
        # A kind that this release does not know is applied from the scopes it carries (RACES 30).
        rule = domain.rules_by_kind.get(kind)
        if rule is not None and rule.audience is not None:
            await _audience(session, rule, same, invalidations, failed)
    await session.close()
    return Folded(frozenset(_complete(one, domain) for one in invalidations), failed)


async def _audience(
    session: AsyncSession,
    rule: Rule[Any],
    rows: Sequence[Row],
    invalidations: set[Invalidation],
    failed: dict[int, tuple[int, str]],
) -> None:
    """Ask a rule about many events at once; when it fails, about each alone (RACES 36)."""
    try:
        async with session.begin_nested():
            events = [_event(rule.event, payload) for payload in dict.fromkeys(row.payload for row in rows)]
            invalidations.update(_checked(await rule.audience(session, events)))  # type: ignore[misc]
    except Exception as error:
        # A rule is the adopter's code and may raise anything: only its own row may suffer. Outages are
        # not the row's fault.
        if isinstance(error, DatabaseUnavailable) or _outage(error):
            raise
        if len(rows) == 1:
            failed[rows[0].id] = (rows[0].attempts, _said(error))
            return
        for row in rows:
            await _audience(session, rule, [row], invalidations, failed)


def _checked(answer: Iterable[Any]) -> list[Invalidation]:
    """What a rule answered; raises TypeError, here where it is still one row's own fault (RACES 36)."""
    found = list(answer)
    for one in found:
        if not (
            isinstance(one, Invalidation)
            and isinstance(one.scope, Scope)
            and isinstance(one.views, frozenset)
        ):
            raise TypeError(
                f"an audience is made of Invalidations, not of {type(one).__name__}: {one!r:.100}"
            )
    return found


def _said(error: Exception) -> str:
    """An error's text; that of an adopter's own may fail, too."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - as above: only its own row may suffer
        return type(error).__name__


def _event(kind: type[Event], payload: str) -> Event:
    return kind.model_validate_json(payload, extra="ignore")  # a newer release may have added fields


def _complete(one: Invalidation, domain: Domain) -> Invalidation:
    if one.views:
        return one
    return Invalidation(one.scope, domain.view_names_by_scope.get(one.scope.kind, frozenset()), one.hard)


def _outage(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    # A rule's query that was ended for taking too long leaves the connection as it was: the row's own fault.
    return error.connection_invalidated or (is_outage(error.orig) and not was_canceled(error))


def _traced(rows: Sequence[Row], domain: Domain, started_ns: int) -> dict[Scope, str]:
    """A span in the trace of each event that has one; by scope, so that what follows goes on in it."""
    traces: dict[Scope, str] = {}
    for row in rows:
        if row.trace is None:
            continue
        trace = tracing.recorded(f"apply {row.kind}", row.trace, started_ns, {"stoker.event_id": row.id})
        if trace is not None:
            with contextlib.suppress(ValueError, TypeError):  # its row was put off for the same reason
                traces.update((one.scope, trace) for one in read(row.scopes, domain))
    return traces


async def refresh_hot(
    stoker: Stoker, invalidations: frozenset[Invalidation], traces: Mapping[Scope, str]
) -> None:
    """Ask for a refresh of entries that were read within their TTL. Best effort."""
    try:
        hot = await _hot_entries(stoker, invalidations)
        if hot:
            await stoker.queue.enqueue_many(
                [Refresh(view=key.view, scope_id=key.scope.id, params=key.params) for key in hot],
                traces=[traces.get(key.scope) for key in hot],
            )
    except (CacheUnavailable, QueueUnavailable) as error:
        logger.warning("relay.refresh_not_asked", extra={"error": str(error)})


async def _hot_entries(stoker: Stoker, invalidations: frozenset[Invalidation]) -> list[EntryKey]:
    views = stoker.domain.views_by_name
    candidates = {
        key: None
        for one in invalidations
        for name in one.views & views.keys()
        if views[name].scope == one.scope.kind and (key := views[name].default_key(one.scope)) is not None
    }
    cache = stoker.cache
    looked_at = list(islice(candidates, HOT_LOOKED_AT))
    reads = await last_reads(cache.store.client, cache.store.keys, looked_at)
    now = time.time()
    return [
        key for key, at in reads.items() if at is not None and now - at < stoker.ttl(key.view).total_seconds()
    ][:HOT_PER_BATCH]
