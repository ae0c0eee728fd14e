"""Routes of lanes, under /api/jobs: how deep each is; pause, resume, and how many of its jobs run at once."""

from __future__ import annotations

from fastapi import APIRouter

from stoker.api.access import Operator, Viewer
from stoker.api.context import OpenStoker, ReadingStoker
from stoker.jobs import Lane
from stoker.operations import lanes
from stoker.operations.lanes import LanePause, Lanes, LaneSlots, LaneSlotsSet

router = APIRouter(prefix="/api/jobs", tags=["lanes"])


@router.get("/queues")
async def listing(_: Viewer, stoker: ReadingStoker) -> Lanes:
    """Ready, deferred, running, parked and dead jobs, and the oldest ready one's age, for each lane."""
    return await lanes.listing(stoker)


@router.post("/lanes/{lane}/pause")
async def pause(lane: Lane, operator: Operator, stoker: OpenStoker) -> LanePause:
    """Stop workers from starting jobs of the lane; running jobs go on. Recorded events are still applied."""
    return await lanes.pause(stoker, operator.actor, lane)


@router.post("/lanes/{lane}/resume")
async def resume(lane: Lane, operator: Operator, stoker: OpenStoker) -> LanePause:
    """End a pause; workers notice at once."""
    return await lanes.resume(stoker, operator.actor, lane)


@router.put("/lanes/{lane}/slots")
async def set_slots(lane: Lane, asked: LaneSlots, operator: Operator, stoker: OpenStoker) -> LaneSlotsSet:
    """How many jobs of the lane run at once in each worker process; in effect within two seconds."""
    return await lanes.set_slots(stoker, operator.actor, lane, asked.slots)
