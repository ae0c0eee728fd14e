"""Routes under /api/jobs: list waiting and ended jobs, show, enqueue and cancel a job.

Viewers see keys and metadata; arguments and tracebacks only operators.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from stoker.api.access import Operator, SteadyOperator, Viewer
from stoker.api.context import OpenStoker, ReadingStoker
from stoker.operations import batches, jobs
from stoker.operations.batches import BatchList
from stoker.operations.jobs import Asked, Cancelled, Choice, JobDetail, JobList
from stoker.operations.texts import JobId, Text64
from stoker.settings import Role

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get("")
async def listing(_: Viewer, stoker: ReadingStoker, asked: Annotated[Choice, Query()]) -> JobList:
    """Jobs that match the filters. Without a state: running and ended jobs; with an error: only ended ones.

    A search of the queue ends after a bounded time; `live_searched` of `live_of` says how far it came.
    """
    return await jobs.listing(stoker, asked)


class JobRequest(BaseModel):
    """A job to enqueue: its kind, its arguments, and the seconds until it may start."""

    model_config = ConfigDict(extra="forbid")
    kind: Text64
    arguments: dict[str, Any] = {}
    delay_s: float = Field(default=0, ge=0, le=365 * 86_400)


@router.post("", status_code=202)
async def enqueue(asked: JobRequest, operator: SteadyOperator, stoker: OpenStoker) -> Asked:
    """Enqueue a job of a kind that the domain handles, or one of Stoker's own."""
    return await jobs.enqueue(stoker, operator.actor, asked.kind, asked.arguments, asked.delay_s)


@router.get("/batches")
async def list_batches(
    _: Viewer, stoker: ReadingStoker, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> BatchList:
    """Batches that are open, then those that ended within a day, the latest first."""
    return await batches.listing(stoker, limit)


@router.get("/{job_id}")
async def detail(job_id: JobId, reader: Viewer, stoker: ReadingStoker) -> JobDetail:
    """One job: its state, its runs, and why it died."""
    return await jobs.detail(stoker, job_id, whole=reader.role is Role.OPERATOR)


@router.post("/{job_id}/cancel")
async def cancel(job_id: JobId, operator: Operator, stoker: OpenStoker) -> Cancelled:
    """End a waiting or running job for good; one that has ended is `not_found`."""
    return await jobs.cancel(stoker, operator.actor, job_id)
