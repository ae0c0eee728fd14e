"""Routes of lanes, under /api/jobs: how deep each is; pause, resume, and how many of its jobs run at once."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from stoker.api.access import Operator, Viewer
from stoker.api.context import OpenStoker
from stoker.jobs import Lane
from stoker.operations import steering
from stoker.operations.figures import LaneFigures, lane_figures

router = APIRouter(prefix="/api/jobs", tags=["lanes"])


class Queues(BaseModel):
    """Every lane, by name."""

    lanes: dict[str, LaneFigures]


class LanePause(BaseModel):
    """A lane, and whether workers begin its jobs."""

    lane: Lane
    paused: bool


class LaneSlots(BaseModel):
    """Jobs at once in each worker; null: as each worker's settings say."""

    model_config = ConfigDict(extra="forbid")
    slots: int | None = Field(ge=1, le=1000)


class LaneSlotsSet(LaneSlots):
    """A lane, and the slots that every worker gives it."""

    lane: Lane


@router.get("/queues")
async def queues(_: Viewer, stoker: OpenStoker) -> Queues:
    """Ready, deferred, running, parked and dead jobs, and the oldest ready one's age, for each lane."""
    return Queues(lanes=await lane_figures(stoker))


@router.post("/lanes/{lane}/pause")
async def pause(lane: Lane, operator: Operator, stoker: OpenStoker) -> LanePause:
    """Let no worker begin a job of the lane; running ones go on. Recorded events are applied all the same."""
    await steering.pause_lane(stoker, operator.actor, lane)
    return LanePause(lane=lane, paused=True)


@router.post("/lanes/{lane}/resume")
async def resume(lane: Lane, operator: Operator, stoker: OpenStoker) -> LanePause:
    """End a pause; workers notice at once."""
    await steering.resume_lane(stoker, operator.actor, lane)
    return LanePause(lane=lane, paused=False)


@router.put("/lanes/{lane}/slots")
async def set_slots(lane: Lane, asked: LaneSlots, operator: Operator, stoker: OpenStoker) -> LaneSlotsSet:
    """How many jobs of the lane run at once in each worker process; in effect within two seconds."""
    await steering.set_slots(stoker, operator.actor, lane, asked.slots)
    return LaneSlotsSet(lane=lane, slots=asked.slots)
