"""Routes under /api/jobs/dead: jobs that will not run again by themselves, by cause; retry, discard."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from stoker.api.access import Operator, Viewer
from stoker.api.context import OpenStoker, ReadingStoker
from stoker.cache.view import LARGEST_ID
from stoker.operations import dead
from stoker.operations.dead import (
    DeadFilter,
    DeadGroups,
    DeadJobs,
    Discarded,
    Matched,
    RetriedDead,
    WhichDead,
)

router = APIRouter(prefix="/api/jobs/dead", tags=["dead letters"])


class DeadPage(DeadFilter):
    """A filter, and which page of what matches."""

    limit: int = Field(default=50, ge=1, le=500)
    before: int | None = Field(default=None, ge=1, le=LARGEST_ID)


class DeadCauses(DeadFilter):
    """A filter, and how many causes at most."""

    limit: int = Field(default=100, ge=1, le=500)


@router.get("")
async def listing(_: Viewer, stoker: ReadingStoker, asked: Annotated[DeadPage, Query()]) -> DeadJobs:
    """Jobs that will not run again by themselves."""
    return await dead.listing(stoker, asked, asked.limit, asked.before)


@router.get("/count")
async def count(_: Viewer, stoker: ReadingStoker, asked: Annotated[DeadFilter, Query()]) -> Matched:
    """How many dead jobs match, exactly."""
    return await dead.count(stoker, asked)


@router.get("/groups")
async def causes(_: Viewer, stoker: ReadingStoker, asked: Annotated[DeadCauses, Query()]) -> DeadGroups:
    """Dead jobs by cause: those with the same error have one fingerprint."""
    return await dead.causes(stoker, asked.limit, asked)


@router.post("/retry")
async def retry(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> RetriedDead:
    """Put jobs back into their lanes, as new jobs."""
    return await dead.retry(stoker, operator.actor, asked)


@router.post("/discard")
async def discard(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> Discarded:
    """Delete dead letters for good."""
    return await dead.discard(stoker, operator.actor, asked)
