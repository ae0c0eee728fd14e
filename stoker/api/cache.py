"""Routes under /api/cache: invalidate and warm, follow both, and see whether the cache is right and warm.

Acting is asked for, not waited for: 202 with an id whose progress can be read.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from stoker.api.access import SteadyOperator, Viewer
from stoker.api.context import OpenStoker, TheSettings
from stoker.cache.view import LARGEST_ID
from stoker.domain import ACTIVE
from stoker.errors import NotFound
from stoker.operations import actions, lookup, steering
from stoker.operations.figures import CacheFigures, cache_figures
from stoker.operations.lookup import EntryFigures, Invalidated, ScopeFigures
from stoker.queue.progress import JobState, Progress
from stoker.telemetry.health import Health, examine, probes

router = APIRouter(prefix="/api/cache", tags=["cache"])

AMONG_ENTRIES, AMONG_EVENTS = 500, 5_000
"""How many are looked at for what stands out."""
ScopeId = StrictInt | Annotated[str, Field(max_length=64)]
Name = Annotated[str, Field(max_length=64)]


class Asked(BaseModel):
    """The body of a request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class InvalidateRequest(Asked):
    """Which scope is wrong. Without `views`, every view of it. Hard: not even marked stale any more."""

    kind: Name = Field(description="A scope kind of the domain.")
    id: ScopeId
    views: list[Name] | None = Field(default=None, min_length=1, max_length=64)
    hard: bool = False


class WarmRequest(Asked):
    """What to warm: `active` for everybody who is active, or a scope kind and an id."""

    target: Name = Field(default=ACTIVE, description="`active`, or a scope kind that the domain can warm.")
    id: ScopeId | None = None


class RefreshRequest(Asked):
    """Which scope's plain entries to rebuild. Without `views`, those of every view."""

    kind: Name = Field(description="A scope kind of the domain.")
    id: ScopeId
    views: list[Name] | None = Field(default=None, min_length=1, max_length=64)


class Refreshing(BaseModel):
    """The jobs that rebuild the entries."""

    job_ids: list[str]


class ScopeKindFigures(BaseModel):
    """A kind of scope, and what it has."""

    views: list[str]
    can_warm: bool


class DomainFigures(BaseModel):
    """What there is to look up, invalidate and warm."""

    name: str
    kinds: dict[str, ScopeKindFigures]
    can_warm_active: bool


class Standing(StrEnum):
    """What entries stand out by."""

    READ = "read"
    """Read last."""
    SLOW = "slow"
    """Took longest to build, of those read lately."""


class Entries(BaseModel):
    """Entries without their bodies."""

    entries: list[EntryFigures]


class InvalidatedScopes(BaseModel):
    """Scopes that changes named most often."""

    scopes: list[Invalidated]


class Accepted(BaseModel):
    """What was asked for will be done; `status_url` tells how far it is."""

    id: str
    status_url: str


class EventState(StrEnum):
    """Where an invalidation stands."""

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
    """A warming job; `total` is 0 until it is known."""

    id: str
    state: JobState
    done: int
    total: int
    error: str | None
    updated_at: datetime


@router.post("/invalidate", status_code=202)
async def invalidate(
    asked: InvalidateRequest,
    operator: SteadyOperator,
    stoker: OpenStoker,
    request: Request,
    response: Response,
) -> Accepted:
    """Record an invalidation; the worker applies it as it does any change."""
    what = actions.invalidation_of(stoker.domain, asked.kind, asked.id, asked.views or (), hard=asked.hard)
    event_id = await actions.invalidate(stoker, operator.actor, what)
    return _accepted(request, response, "invalidation", str(event_id))


@router.get("/invalidate/{id}")
async def invalidation(
    event_id: Annotated[int, Path(alias="id", ge=1, le=LARGEST_ID)], _: Viewer, stoker: OpenStoker
) -> InvalidationProgress:
    """Whether an invalidation is applied."""
    found = await actions.invalidation_state(stoker, event_id)
    if found is None:
        raise NotFound(f"there is no invalidation {event_id}")
    return InvalidationProgress(
        id=str(found.id),
        state=EventState.PENDING if found.applied_at is None else EventState.APPLIED,
        recorded_at=found.recorded_at,
        applied_at=found.applied_at,
        attempts=found.attempts,
        error=found.error,
    )


@router.post("/warm", status_code=202)
async def warm(
    asked: WarmRequest, operator: SteadyOperator, stoker: OpenStoker, request: Request, response: Response
) -> Accepted:
    """Enqueue the building of what is missing or ageing."""
    what = actions.warm_of(stoker.domain, asked.target, asked.id)
    job_id = await actions.warm(stoker, operator.actor, what)
    return _accepted(request, response, "warming", job_id)


@router.get("/warm/{id}")
async def warming(
    job_id: Annotated[str, Path(alias="id", pattern=r"^[A-Za-z0-9_-]{1,64}$")], _: Viewer, stoker: OpenStoker
) -> WarmProgress:
    """How far a warming is; known for a day."""
    found = await Progress(stoker.queue.redis, stoker.queue.settings).read(job_id)
    if found is None:
        raise NotFound(f"there is no warming {job_id}")
    return WarmProgress(
        id=job_id,
        state=found.state,
        done=found.done,
        total=found.total,
        error=found.error,
        updated_at=found.updated_at,
    )


@router.post("/refresh", status_code=202)
async def refresh(asked: RefreshRequest, operator: SteadyOperator, stoker: OpenStoker) -> Refreshing:
    """Rebuild a scope's plain entries; readers get the old ones meanwhile."""
    found = await steering.refresh(stoker, operator.actor, asked.kind, asked.id, asked.views or ())
    return Refreshing(job_ids=found)


@router.get("/domain")
async def domain(_: Viewer, stoker: OpenStoker) -> DomainFigures:
    """Scope kinds and their views."""
    warmed = {plan.target for plan in stoker.domain.warm_plans}
    return DomainFigures(
        name=stoker.domain.name,
        kinds={
            kind.name: ScopeKindFigures(
                views=[view.name for view in stoker.domain.views if view.scope == kind.name],
                can_warm=kind.name in warmed,
            )
            for kind in stoker.domain.scopes
        },
        can_warm_active=ACTIVE in warmed,
    )


@router.get("/scope")
async def scope(
    _: Viewer,
    stoker: OpenStoker,
    kind: Annotated[str, Query(max_length=64)],
    scope_id: Annotated[str, Query(alias="id", max_length=64)],
) -> ScopeFigures:
    """What the cache holds of a scope: entries, stamps, and the events that invalidated it last."""
    return await lookup.look_up(stoker, stoker.domain.scope(kind, scope_id))


@router.get("/entries")
async def entries(
    _: Viewer,
    stoker: OpenStoker,
    by: Standing = Standing.READ,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Entries:
    """Entries that stand out, among those read lately."""
    if by is Standing.SLOW:
        return Entries(entries=await lookup.slowest_built(stoker, limit, AMONG_ENTRIES))
    return Entries(entries=await lookup.most_read(stoker, limit))


@router.get("/invalidated")
async def invalidated(
    _: Viewer, stoker: OpenStoker, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> InvalidatedScopes:
    """Scopes that the latest changes named most often."""
    return InvalidatedScopes(scopes=await lookup.most_invalidated(stoker, limit, AMONG_EVENTS))


@router.get("/stats")
async def stats(_: Viewer, stoker: OpenStoker) -> CacheFigures:
    """Hit rate and misses by cause for each view over all processes, and what is not applied yet."""
    return await cache_figures(stoker)


@router.get("/health", responses={503: {"model": Health, "description": "Which server is down."}})
async def health(_: Viewer, stoker: OpenStoker, settings: TheSettings, response: Response) -> Health:
    """Whether Postgres and both Redis roles answer, and how fast; itself answers within a second."""
    found = await examine(probes(stoker), settings.api.probe_timeout_s)
    response.status_code = 200 if found.ok else 503
    return found


def _accepted(request: Request, response: Response, route: str, asked_id: str) -> Accepted:
    url = str(request.app.url_path_for(route, id=asked_id))
    response.headers["Location"] = url
    return Accepted(id=asked_id, status_url=url)
