"""Invalidate, warm and refresh, and follow the progress of each.

An invalidation is recorded like any event, so a crash cannot lose it. Warmings and refreshes are jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel
from sqlalchemy import select

from stoker.cache.view import EntryKey
from stoker.domain import Domain
from stoker.errors import InvalidParams, NotFound, UnknownScope, UnknownView
from stoker.jobs import Refresh, Warm
from stoker.operations.audit import Actor, act, acting, enqueue_audited
from stoker.outbox.record import InvalidationRequested
from stoker.postgres import fetched
from stoker.queue.progress import JobState, Progress
from stoker.rules import Invalidation
from stoker.stoker import Stoker
from stoker.tables import cache_events
from stoker.warm_plans import ACTIVE


class ScopeKindFigures(BaseModel):
    """A scope kind, with its views."""

    views: list[str]
    can_warm: bool


class DomainFigures(BaseModel):
    """What can be shown, invalidated and warmed."""

    name: str
    kinds: dict[str, ScopeKindFigures]
    can_warm_active: bool


class Recorded(BaseModel):
    """An invalidation that will be applied: the id under which it can be followed, and its scope."""

    id: str
    scope: str


class EventState(StrEnum):
    """The state of an invalidation."""

    PENDING = "pending"
    APPLIED = "applied"


class InvalidationProgress(BaseModel):
    """A requested invalidation; `applied` once the cache has acknowledged it."""

    id: str
    state: EventState
    recorded_at: datetime
    applied_at: datetime | None
    attempts: int
    error: str | None


class WarmProgress(BaseModel):
    """A warming job. `total` is 0 until it is known; it does not count entries of rows that do not exist."""

    id: str
    state: JobState
    done: int
    total: int
    error: str | None
    updated_at: datetime


class Refreshing(BaseModel):
    """The jobs that rebuild the entries."""

    job_ids: list[str]


def domain_figures(domain: Domain) -> DomainFigures:
    """Scope kinds with their views, and what can be warmed."""
    warmed = {plan.target for plan in domain.warm_plans}
    return DomainFigures(
        name=domain.name,
        kinds={
            kind.name: ScopeKindFigures(
                views=[view.name for view in domain.views if view.scope == kind.name],
                can_warm=kind.name in warmed,
            )
            for kind in domain.scopes
        },
        can_warm_active=domain.has_warm_plan(ACTIVE),
    )


async def invalidate(
    stoker: Stoker,
    actor: Actor,
    kind: str,
    scope_id: object,
    views: Sequence[str] = (),
    *,
    hard: bool = False,
) -> Recorded:
    """Record an invalidation; raises UnknownScope or UnknownView, naming the field."""
    what = invalidation_of(stoker.domain, kind, scope_id, views, hard=hard)
    arguments = {"scope": str(what.scope), "views": sorted(what.views), "hard": what.hard}
    async with acting(stoker, actor, "cache.invalidate", arguments) as session:
        receipt = stoker.record(session, InvalidationRequested.of([what]))
    return Recorded(id=str(receipt.event_id), scope=str(what.scope))


async def invalidation(stoker: Stoker, event_id: int) -> InvalidationProgress:
    """The state of a requested invalidation; raises NotFound if the id is unknown or was pruned."""
    columns = cache_events.c
    query = select(
        columns.recorded_at, columns.settled_at.label("applied_at"), columns.attempts, columns.error
    ).where(columns.id == event_id, columns.kind == InvalidationRequested.kind)
    rows = await fetched(stoker.engine, query)
    if not rows:
        raise NotFound(f"there is no invalidation {event_id}: the id is wrong, or it was applied long ago")
    state = EventState.PENDING if rows[0]["applied_at"] is None else EventState.APPLIED
    return InvalidationProgress(id=str(event_id), state=state, **rows[0])


async def warm(stoker: Stoker, actor: Actor, target: str, scope_id: object | None = None) -> str:
    """Enqueue a warming; returns the job's id. Raises UnknownScope, naming the field."""
    what = _warm_of(stoker.domain, target, scope_id)
    said = what.model_dump(exclude_defaults=True) | {"target": what.target}
    job = await enqueue_audited(stoker, actor, "cache.warm", said, what)
    await _progress(stoker).queued(job.job_id)
    return job.job_id


async def warming(stoker: Stoker, job_id: str) -> WarmProgress:
    """The progress of a warming; raises NotFound if none was reported within a day."""
    found = await _progress(stoker).read(job_id)
    if found is None:
        raise NotFound(f"there is no warming {job_id}: the id is wrong, or it ended over a day ago")
    return WarmProgress(id=job_id, **asdict(found))


async def refresh(
    stoker: Stoker, actor: Actor, kind: str, scope_id: object, views: Sequence[str] = ()
) -> Refreshing:
    """Enqueue rebuilds of a scope's plain entries; raises BadRequest."""
    scope = invalidation_of(stoker.domain, kind, scope_id, views).scope
    chosen = [
        view for view in stoker.domain.views if view.scope == scope.kind and (not views or view.name in views)
    ]
    keys: list[EntryKey] = [key for view in chosen if (key := view.default_key(scope)) is not None]
    if not keys:
        raise InvalidParams("these views cannot be read without parameters: name others", field="views")
    arguments = {"scope": str(scope), "views": sorted(key.view for key in keys)}
    await act(stoker, actor, "cache.refresh", arguments)
    asked = await stoker.queue.enqueue_many(
        [Refresh(view=key.view, scope_id=key.scope.id, params=key.params) for key in keys]
    )
    return Refreshing(job_ids=[one.job_id for one in asked])


def invalidation_of(
    domain: Domain, kind: str, scope_id: object, views: Sequence[str], *, hard: bool = False
) -> Invalidation:
    """An invalidation that somebody asks for; raises UnknownScope or UnknownView, naming the field."""
    scope = domain.scope(kind, scope_id)
    known = domain.view_names_by_scope[scope.kind]
    for name in views:
        if name not in known:
            there_are = ", ".join(sorted(known)) or "none"
            raise UnknownView(
                f"{scope.kind} has no view {name[:40]!r}; there are: {there_are}", field="views"
            )
    return Invalidation(scope, frozenset(views), hard)


def _warm_of(domain: Domain, target: str, scope_id: object | None) -> Warm:
    targets = [plan.target for plan in domain.warm_plans]
    if target == ACTIVE and not domain.has_warm_plan(ACTIVE):
        instead = f"name what to warm: {', '.join(targets)}" if targets else "it has no warm plan at all"
        raise UnknownScope(f"the domain has no warm plan for {ACTIVE!r}; {instead}", field="target")
    plan = domain.warm_plan(target)
    if plan.target == ACTIVE:
        if scope_id is not None:
            raise UnknownScope(f"target {ACTIVE!r} takes no id", field="id")
        return Warm(target=ACTIVE)
    if scope_id is None:
        raise UnknownScope(f"target {target!r} needs the id of what to warm", field="id")
    return Warm(target=target, scope_id=domain.scope(target, scope_id).id)


def _progress(stoker: Stoker) -> Progress:
    return Progress(stoker.queue.redis, stoker.queue.settings)
