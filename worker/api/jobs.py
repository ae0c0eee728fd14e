"""Routes under /api/jobs: how deep each lane is, and what died. Payloads are never shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from jobs.cache.view import LARGEST_ID
from worker.api.access import Viewer
from worker.api.context import OpenStoker
from worker.figures import DeadJob, LaneFigures, dead_list, lane_figures

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


class Queues(BaseModel):
    """Every lane, by name."""

    lanes: dict[str, LaneFigures]


class DeadJobs(BaseModel):
    """A page of dead jobs, the latest first; ask for what is `before` the last id for the next page."""

    dead: list[DeadJob]


@router.get("/queues")
async def queues(_: Viewer, stoker: OpenStoker) -> Queues:
    """Ready, deferred, running, parked and dead jobs, and the oldest ready one's age, for each lane."""
    return Queues(lanes=await lane_figures(stoker))


@router.get("/dead")
async def dead(
    _: Viewer,
    stoker: OpenStoker,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
) -> DeadJobs:
    """Jobs that will not run again by themselves."""
    return DeadJobs(dead=await dead_list(stoker, limit, before))
