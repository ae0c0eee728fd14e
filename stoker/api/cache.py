"""Routes under /api/cache: invalidate and warm, follow the progress, and read the cache's figures.

Actions answer 202 with an id under which their progress can be read; no request waits for an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from pydantic_core import from_json

from stoker.api.access import Operator, Reader, SteadyOperator, Viewer
from stoker.api.context import OpenStoker, ReadingStoker, TheSettings
from stoker.cache.view import LARGEST_ID
from stoker.errors import InvalidParams
from stoker.operations import cache, entries, findings
from stoker.operations.cache import DomainFigures, InvalidationProgress, Refreshing, WarmProgress
from stoker.operations.comparing import Comparison, compare
from stoker.operations.entries import (
    Entries,
    EntryFigures,
    InvalidatedScopes,
    ScopeEvents,
    ScopeFigures,
    Standing,
)
from stoker.operations.explain import Explanation, explain, for_viewers
from stoker.operations.figures import CacheFigures, cache_figures
from stoker.operations.findings import Acknowledged, Findings
from stoker.operations.health import Health, health_of
from stoker.settings import Role
from stoker.warm_plans import ACTIVE

router = APIRouter(prefix="/api/cache", tags=["cache"])

ScopeId = StrictInt | Annotated[str, Field(max_length=64)]
Name = Annotated[str, Field(max_length=64)]
Limit = Annotated[int, Query(ge=1, le=100)]


class Asked(BaseModel):
    """The body of a request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class RefreshRequest(Asked):
    """Which scope's entries without parameters to rebuild. Without `views`, those of every view."""

    kind: Name = Field(description="A scope kind of the domain.")
    id: ScopeId
    views: list[Name] | None = Field(default=None, min_length=1, max_length=64)


class InvalidateRequest(RefreshRequest):
    """Which scope to invalidate; without `views`, all its views. `hard`: never serve the old value."""

    hard: bool = False


class WarmRequest(Asked):
    """What to warm: `active` for everybody who is active, or a scope kind and an id."""

    target: Name = Field(default=ACTIVE, description="`active`, or a scope kind that the domain can warm.")
    id: ScopeId | None = None


class Accepted(BaseModel):
    """The action was accepted; `status_url` shows its progress."""

    id: str
    status_url: str


@router.post("/invalidate", status_code=202)
async def invalidate(
    asked: InvalidateRequest,
    operator: SteadyOperator,
    stoker: OpenStoker,
    request: Request,
    response: Response,
) -> Accepted:
    """Record an invalidation; the worker applies it like any change."""
    recorded = await cache.invalidate(
        stoker, operator.actor, asked.kind, asked.id, asked.views or (), hard=asked.hard
    )
    return _accepted(request, response, "invalidation", recorded.id)


@router.get("/invalidate/{id}")
async def invalidation(
    event_id: Annotated[int, Path(alias="id", ge=1, le=LARGEST_ID)], _: Viewer, stoker: ReadingStoker
) -> InvalidationProgress:
    """Whether an invalidation is applied."""
    return await cache.invalidation(stoker, event_id)


@router.post("/warm", status_code=202)
async def warm(
    asked: WarmRequest, operator: SteadyOperator, stoker: OpenStoker, request: Request, response: Response
) -> Accepted:
    """Enqueue a job that builds entries that are missing or about to expire."""
    job_id = await cache.warm(stoker, operator.actor, asked.target, asked.id)
    return _accepted(request, response, "warming", job_id)


@router.get("/warm/{id}")
async def warming(
    job_id: Annotated[str, Path(alias="id", pattern=r"^[A-Za-z0-9_-]{1,64}$")],
    _: Viewer,
    stoker: ReadingStoker,
) -> WarmProgress:
    """The progress of a warming; kept for a day."""
    return await cache.warming(stoker, job_id)


@router.post("/refresh", status_code=202)
async def refresh(asked: RefreshRequest, operator: SteadyOperator, stoker: OpenStoker) -> Refreshing:
    """Rebuild a scope's entries without parameters; readers get the old ones meanwhile."""
    return await cache.refresh(stoker, operator.actor, asked.kind, asked.id, asked.views or ())


@router.get("/domain")
async def domain(_: Viewer, stoker: ReadingStoker) -> DomainFigures:
    """Scope kinds and their views."""
    return cache.domain_figures(stoker.domain)


@router.get("/scope")
async def scope(
    reader: Viewer,
    stoker: ReadingStoker,
    kind: Annotated[str, Query(max_length=64)],
    scope_id: Annotated[str, Query(alias="id", max_length=64)],
    *,
    events: bool = True,
) -> ScopeFigures:
    """What the cache holds for a scope: entries, stamps, and the events that invalidated it last.

    Without `events` it is answered while Postgres is silent.
    """
    found = await entries.scope_figures(stoker, kind, scope_id, with_events=events)
    return found.model_copy(update={"entries": _shown_to(reader, found.entries)})


@router.get("/scope/events")
async def scope_events(
    _: Viewer,
    stoker: ReadingStoker,
    kind: Annotated[str, Query(max_length=64)],
    scope_id: Annotated[str, Query(alias="id", max_length=64)],
) -> ScopeEvents:
    """The events that invalidated a scope last."""
    return await entries.scope_events(stoker, kind, scope_id)


@router.get("/explain")
async def explanation(
    reader: Viewer,
    stoker: ReadingStoker,
    view: Annotated[str, Query(max_length=64)],
    scope_id: Annotated[str, Query(alias="id", max_length=64)],
    params: Annotated[str, Query(max_length=4096, description="Parameters as JSON.")] = "",
) -> Explanation:
    """Why a reader of one entry sees what it sees. Viewers see how many may read it, not who."""
    found = await explain(stoker, view, scope_id, _params(params))
    return found if reader.role is Role.OPERATOR else for_viewers(found)


def _params(given: str) -> dict[str, Any] | None:
    try:
        found = from_json(given) if given else None
    except ValueError:
        found = given
    if found is not None and not isinstance(found, dict):
        raise InvalidParams('the parameters are no JSON object: write {"page": 2}', field="params")
    return found


@router.post("/compare")
async def compare_with_sql(asked: RefreshRequest, operator: SteadyOperator, stoker: OpenStoker) -> Comparison:
    """Compare a scope's entries with SQL: match or diff; nothing is healed."""
    return await compare(stoker, operator.actor, asked.kind, asked.id, asked.views or ())


class AcknowledgeRequest(Asked):
    """Which findings somebody has seen to: one, or all up to an id."""

    up_to: int = Field(ge=1, le=LARGEST_ID)
    only: bool = False


@router.get("/findings")
async def stale_findings(
    reader: Viewer,
    stoker: ReadingStoker,
    limit: Limit = 20,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
    *,
    every: bool = False,
) -> Findings:
    """Stale entries that the verifier found; without `every` those that nobody has acknowledged."""
    found = await findings.listing(stoker, limit, before, every=every)
    if reader.role is Role.OPERATOR:
        return found
    shown = [one.model_copy(update={"params": "hidden" if one.params else ""}) for one in found.findings]
    return found.model_copy(update={"findings": shown})


@router.post("/findings/acknowledge")
async def acknowledge(asked: AcknowledgeRequest, operator: Operator, stoker: OpenStoker) -> Acknowledged:
    """Say that somebody has seen to findings: they are no concern of the overview any more."""
    only = asked.up_to if asked.only else None
    return await findings.acknowledge(stoker, operator.actor, asked.up_to, only)


@router.get("/entries")
async def stand_out(
    reader: Viewer, stoker: ReadingStoker, by: Standing = Standing.READ, limit: Limit = 20
) -> Entries:
    """The hottest or slowest entries, among those read lately."""
    found = await entries.stand_out(stoker, by, limit)
    return Entries(entries=_shown_to(reader, found.entries))


def _shown_to(reader: Reader, found: Sequence[EntryFigures]) -> list[EntryFigures]:
    """Entries with their parameters only for operators: parameters hold what people search for."""
    if reader.role is Role.OPERATOR:
        return list(found)
    return [
        entry.model_copy(update={"params": f"hidden {number}"}) if entry.params else entry
        for number, entry in enumerate(found, 1)
    ]


@router.get("/invalidated")
async def invalidated(_: Viewer, stoker: ReadingStoker, limit: Limit = 20) -> InvalidatedScopes:
    """Scopes that the latest changes named most often."""
    return await entries.most_invalidated(stoker, limit)


@router.get("/stats")
async def stats(_: Viewer, stoker: ReadingStoker) -> CacheFigures:
    """Hit rate and misses by cause for each view over all processes, and the changes not applied yet."""
    return await cache_figures(stoker)


@router.get("/health", responses={503: {"model": Health, "description": "Which server is down."}})
async def health(_: Viewer, stoker: OpenStoker, settings: TheSettings, response: Response) -> Health:
    """Whether Postgres and both Redis roles answer, and how fast. This route answers within a second."""
    found = await health_of(stoker, settings.api.probe_timeout_s)
    response.status_code = 200 if found.ok else 503
    return found


def _accepted(request: Request, response: Response, route: str, asked_id: str) -> Accepted:
    url = str(request.app.url_path_for(route, id=asked_id))
    response.headers["Location"] = url
    return Accepted(id=asked_id, status_url=url)
