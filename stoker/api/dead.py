"""Routes under /api/jobs/dead: jobs that will not run again by themselves, by cause; retry, discard."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from stoker.api.access import Operator, Viewer
from stoker.api.context import OpenStoker, ReadingStoker
from stoker.cache.view import LARGEST_ID
from stoker.operations import dead
from stoker.operations.dead import FINGERPRINT, DeadGroups, DeadJobs, Discarded, WhichDead
from stoker.worker.engine.dead_letters import Retried

router = APIRouter(prefix="/api/jobs/dead", tags=["dead letters"])

Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("")
async def listing(
    _: Viewer,
    stoker: ReadingStoker,
    limit: Limit = 50,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
    fingerprint: Annotated[str | None, Query(pattern=FINGERPRINT)] = None,
) -> DeadJobs:
    """Jobs that will not run again by themselves."""
    return await dead.listing(stoker, limit, before, fingerprint)


@router.get("/groups")
async def causes(_: Viewer, stoker: ReadingStoker, limit: Limit = 100) -> DeadGroups:
    """Dead jobs by cause: those with the same error have one fingerprint."""
    return await dead.causes(stoker, limit)


@router.post("/retry")
async def retry(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> Retried:
    """Put jobs back into their lanes, as new jobs."""
    return await dead.retry(stoker, operator.actor, asked)


@router.post("/discard")
async def discard(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> Discarded:
    """Delete dead letters for good."""
    return await dead.discard(stoker, operator.actor, asked)
