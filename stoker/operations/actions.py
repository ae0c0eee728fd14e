"""What an operator can ask for, through the API or the CLI: each action is checked, audited and answered.

Invalidations are recorded like any event, so that they survive whatever happens next. Warmings are jobs;
who asked can follow them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from stoker.domain import ACTIVE, Domain, Invalidation
from stoker.errors import UnknownScope, UnknownView
from stoker.jobs import Warm
from stoker.operations.audit import Actor, audit
from stoker.outbox.record import InvalidationRequested
from stoker.postgres import database_errors
from stoker.queue.progress import Progress
from stoker.stoker import Stoker
from stoker.tables import cache_events


@dataclass(frozen=True)
class InvalidationState:
    """How far a requested invalidation is; `applied_at` is set once the cache has acknowledged it."""

    id: int
    recorded_at: datetime
    applied_at: datetime | None
    attempts: int
    error: str | None


def invalidation_of(
    domain: Domain, kind: str, scope_id: object, views: Sequence[str] = (), *, hard: bool = False
) -> Invalidation:
    """Check a request against the domain; raises UnknownScope or UnknownView, naming the field."""
    scope = domain.scope(kind, scope_id)
    known = domain.view_names_by_scope[scope.kind]
    for name in views:
        if name not in known:
            there_are = ", ".join(sorted(known)) or "none"
            raise UnknownView(
                f"{scope.kind} has no view {name[:40]!r}; there are: {there_are}", field="views"
            )
    return Invalidation(scope, frozenset(views), hard)


async def invalidate(stoker: Stoker, actor: Actor, what: Invalidation) -> int:
    """Record an invalidation; returns the id under which its state can be read."""
    arguments = {"scope": str(what.scope), "views": sorted(what.views), "hard": what.hard}
    with database_errors():
        async with stoker.session() as session:
            async with session.begin():
                await audit(session, actor, "cache.invalidate", arguments)
                receipt = stoker.record(session, InvalidationRequested.of([what]))
            return receipt.event_id


async def invalidation_state(stoker: Stoker, event_id: int) -> InvalidationState | None:
    """The state of a requested invalidation; None for an id that is not of one, or is long gone."""
    columns = cache_events.c
    query = select(
        columns.id, columns.recorded_at, columns.settled_at, columns.attempts, columns.error
    ).where(columns.id == event_id, columns.kind == InvalidationRequested.kind)
    with database_errors():
        async with stoker.engine.connect() as connection:
            row = (await connection.execute(query)).first()
    return None if row is None else InvalidationState(*row)


def warm_of(domain: Domain, target: str, scope_id: object | None = None) -> Warm:
    """Check a request against the domain's warm plans; raises UnknownScope naming the field."""
    plan = domain.warm_plan(target)
    if plan.target == ACTIVE:
        if scope_id is not None:
            raise UnknownScope(f"target {ACTIVE!r} takes no id", field="id")
        return Warm(target=ACTIVE)
    if scope_id is None:
        raise UnknownScope(f"target {target!r} needs the id of what to warm", field="id")
    return Warm(target=target, scope_id=domain.scope(target, scope_id).id)


async def warm(stoker: Stoker, actor: Actor, what: Warm) -> str:
    """Enqueue a warming; returns the id under which its progress can be read."""
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(session, actor, "cache.warm", what.model_dump(exclude_none=True))
    job = await stoker.enqueue(what)
    await Progress(stoker.queue.redis, stoker.queue.settings).queued(job.job_id)
    return job.job_id
