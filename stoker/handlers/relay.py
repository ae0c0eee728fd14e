"""The relay: applies recorded events to the cache.

Called by the `relay` job that a commit rings for, and directly by the worker's sweeper: no queue, flag or
pause can hold up a recorded event. Applying is idempotent, so it is repeated after a kill at any point (RACES
27).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker import tracing
from stoker.cache.accounting import CHANGES
from stoker.cache.flush import unlink_every_scope
from stoker.cache.view import Scope
from stoker.domain import Domain
from stoker.errors import DatabaseUnavailable
from stoker.handlers.context import JobContext
from stoker.handlers.hot import refresh_hot
from stoker.jobs import Outcome, Relay
from stoker.outbox import rows as outbox
from stoker.outbox.captured import NO_FIELDS, told, with_rules_asked
from stoker.outbox.rows import UNREADABLE, Alike
from stoker.outbox.scopes import read
from stoker.postgres import database_errors, is_outage, was_canceled
from stoker.postgres.errors import without_parameters
from stoker.queue.ring import UNKNOWN_ROW
from stoker.redis.cache import AWAY, NodeAway
from stoker.rules import EVERY_SCOPE, Event, Invalidation
from stoker.stoker import Stoker

logger = logging.getLogger(__name__)

MANY_CHANGED = 5000
"""After this many invalidations refreshes are asked for, even if more events wait."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch of events invalidates, and which of them failed alone: id -> (attempts, error).

    `asked`: the events, with what the rules of captured ones named.
    """

    invalidations: frozenset[Invalidation]
    failed: dict[int, tuple[int, str]]
    asked: Sequence[Alike]


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of one batch: how many events were claimed and settled, what they invalidated."""

    claimed: int = 0
    settled: int = 0
    invalidations: frozenset[Invalidation] = frozenset()
    traces: Mapping[Scope, str] = field(default_factory=dict)


async def relay(context: JobContext, _job: Relay) -> Outcome:
    """Apply everything recorded so far. The waiting flag was cleared before this began (RACES 10)."""
    await apply_all(context.stoker)
    return Outcome.DONE


async def apply_all(stoker: Stoker) -> int:
    """Apply batches until none is left; returns how many events were settled."""
    settled = 0
    changed: set[Invalidation] = set()
    traces: dict[Scope, str] = {}
    while True:
        await stoker.cache_identity.note()  # before anything is settled: readers of another cache must know
        batch = await apply_batch(stoker)
        settled += batch.settled
        changed |= batch.invalidations
        traces |= batch.traces
        is_last = batch.claimed < stoker.settings.changes.batch
        if not is_last:
            # More may wait than this worker need apply alone: another one that is idle takes the next batch.
            stoker.ringer.soon([UNKNOWN_ROW])
        # Not after every batch: an entry that the next batch invalidates again would be built in vain.
        if is_last or len(changed) >= MANY_CHANGED:
            if changed and stoker.settings.changes.refresh_hot:
                await refresh_hot(stoker, changed, traces)
            changed, traces = set(), {}
        if is_last:
            return settled


async def apply_batch(stoker: Stoker) -> Batch:
    """Claim, fold, unlink, wait for one term, settle, commit: one batch.

    Raises CacheUnavailable or DatabaseUnavailable; the events then stay as they were.
    """
    changes, domain = stoker.settings.changes, stoker.domain
    started_ns = time.time_ns()
    with database_errors():
        async with stoker.engine.begin() as connection:
            claimed = await outbox.claim(connection, changes, domain.asking_kinds)
            if not claimed:
                return Batch()
            folded = await fold(connection, domain, claimed)
            found = folded.asked
            try:
                await unlink(stoker, folded.invalidations)
            except NodeAway:
                await _unlink_each(stoker, connection, folded)
            if folded.invalidations:
                await stoker.cache_term.over(connection)  # until then, readers may show what was (RACES 47)
            done = [one for same in found for one in same.ids if one not in folded.failed]
            await outbox.note_scopes(connection, told(claimed, found))
            waits = await outbox.settle(connection, done, stoker.process_name)
            await outbox.postpone(connection, folded.failed, changes)
    for waited in waits:
        stoker.accounting.observe(CHANGES, "applied", round(waited.seconds * 1_000_000), waited.events)
    for event_id, (attempts, error) in folded.failed.items():
        logger.log(
            logging.INFO if error.startswith(AWAY) else logging.ERROR,
            "event.failed",
            extra={"event_id": event_id, "attempts": attempts + 1, "error": error},
        )
    for one in folded.invalidations:
        stoker.accounting.changed(one.scope, one.views)
    count = sum(len(same.ids) for same in found)
    return Batch(count, len(done), folded.invalidations, _traced(found, domain, started_ns))


async def unlink(stoker: Stoker, invalidations: frozenset[Invalidation]) -> None:
    """Unlink every stamp of these invalidations and wait for the acknowledgement."""
    store = stoker.cache.store
    stamps: set[str] = set()
    everywhere = [one for one in invalidations if one.scope.kind == EVERY_SCOPE]
    for one in invalidations.difference(everywhere):
        stamps |= store.stamps_of(one.scope, one.views, hard=one.hard)
    if stamps or everywhere:
        stoker.cache_identity.require()
    runs = await store.unlink(stamps)
    for one in everywhere:
        runs |= await unlink_every_scope(store, one.views, hard=one.hard)
    await stoker.cache_identity.acknowledged(runs)


async def _unlink_each(stoker: Stoker, connection: AsyncConnection, folded: Folded) -> None:
    """A node of the cache's cluster is away: the events that do not concern it are not kept waiting.

    The others are tried again after the first backoff, however often they were (RACES 49).
    """
    for same in folded.asked:
        alone = await fold(connection, stoker.domain, [same])
        folded.failed.update(alone.failed)
        try:
            await unlink(stoker, alone.invalidations)
        except NodeAway as error:
            folded.failed.update(dict.fromkeys(same.ids, (0, str(error))))


async def fold(connection: AsyncConnection, domain: Domain, claimed: Sequence[Alike]) -> Folded:
    """What the events invalidate: the stored scopes, and the audience of their rules now (RACES 32)."""
    invalidations: set[Invalidation] = set()
    failed: dict[int, tuple[int, str]] = {}
    by_kind: dict[str, list[Alike]] = {}
    asked = with_rules_asked(claimed, domain)
    for same in asked:
        try:
            invalidations.update(read(same.scopes, domain))
        except (ValueError, TypeError) as error:
            failed.update(_each(same, f"{UNREADABLE}: {error}"))
        else:
            by_kind.setdefault(same.kind, []).append(same)
    session = AsyncSession(bind=connection, join_transaction_mode="create_savepoint")
    for kind, all_alike in by_kind.items():
        # Without fields, as after TRUNCATE, it names every scope: there is nothing to ask.
        alike = [one for one in all_alike if one.payload != NO_FIELDS]
        # A kind that this release does not know is applied from the scopes it carries (RACES 30).
        if alike and kind in domain.asking_kinds:
            await _audience(session, domain, alike, invalidations, failed)
    await session.close()
    return Folded(frozenset(_complete(one, domain) for one in invalidations), failed, asked)


async def _audience(
    session: AsyncSession,
    domain: Domain,
    asked: Sequence[Alike],
    invalidations: set[Invalidation],
    failed: dict[int, tuple[int, str]],
) -> None:
    """Ask the rule of these events' kind about all at once; when it fails, about each alone (RACES 36)."""
    rule = domain.rules_by_kind[asked[0].kind]
    try:
        async with session.begin_nested():
            events = [_event(rule.event, payload) for payload in dict.fromkeys(one.payload for one in asked)]
            found = await rule.audience(session, events)  # type: ignore[misc]
            # Checked here, where a mistake still affects only its own row (RACES 36).
            invalidations.update(domain.checked(found, f"the audience of {rule.event.kind}"))
    except Exception as error:
        # A rule is the adopter's code and may raise anything; that must affect only its own event. Outages
        # are not the event's fault.
        if isinstance(error, DatabaseUnavailable) or _outage(error):
            raise
        if len(asked) == 1:
            failed.update(_each(asked[0], _said(error)))
            return
        for one in asked:
            await _audience(session, domain, [one], invalidations, failed)


def _each(same: Alike, error: str) -> dict[int, tuple[int, str]]:
    return dict.fromkeys(same.ids, (same.attempts, error))


def _said(error: Exception) -> str:
    """The text of an error. An adopter's `__str__` may fail, too."""
    try:
        return f"{type(error).__name__}: {without_parameters(str(error))}"
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
    # A rule's query that took too long leaves the connection intact, so it counts as the row's own fault.
    return error.connection_invalidated or (is_outage(error.orig) and not was_canceled(error))


def _traced(claimed: Sequence[Alike], domain: Domain, started_ns: int) -> dict[Scope, str]:
    """A span in the trace of each event that has one; by scope, so that refreshes continue it."""
    traces: dict[Scope, str] = {}
    for same in claimed:
        if same.trace is None:
            continue
        for event_id in same.ids:
            about = {"stoker.event_id": event_id}
            trace = tracing.recorded(f"apply {same.kind}", same.trace, started_ns, about)
            if trace is not None:
                with contextlib.suppress(ValueError, TypeError):  # it was postponed again for the same reason
                    traces.update((one.scope, trace) for one in read(same.scopes, domain))
    return traces
