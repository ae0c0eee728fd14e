"""Routes under /api/workers: which processes run, whether there are enough of them; keep one quiet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from stoker.api.access import Operator, Viewer
from stoker.api.context import OpenStoker, ReadingStoker
from stoker.operations import workers
from stoker.operations.texts import Text128
from stoker.operations.workers import Capacity, Quiet, Workers

router = APIRouter(prefix="/api/workers", tags=["workers"])


class QuietRequest(BaseModel):
    """A worker, and whether it is to take no new jobs."""

    model_config = ConfigDict(extra="forbid")
    name: Text128
    quiet: bool


@router.get("")
async def listing(
    _: Viewer, stoker: ReadingStoker, hours: Annotated[int, Query(ge=1, le=720)] = 1
) -> Workers:
    """Worker processes that reported in the last hours, those that run first."""
    return await workers.listing(stoker, hours)


@router.get("/capacity")
async def capacity(_: Viewer, stoker: ReadingStoker) -> Capacity:
    """How much of the slots is used, how long the backlog takes, and what to do about it."""
    return await workers.capacity(stoker)


@router.post("/quiet")
async def set_quiet(asked: QuietRequest, operator: Operator, stoker: OpenStoker) -> Quiet:
    """Let a worker take no new jobs, or again; running jobs go on."""
    return await workers.set_quiet(stoker, operator.actor, asked.name, quiet=asked.quiet)
