"""Lanes: how deep each is; pause, resume, and how many of its jobs run at once.

Raises UnknownLane, QueueUnavailable or DatabaseUnavailable.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from stoker.jobs import Lane
from stoker.operations.audit import Actor, act
from stoker.stoker import Stoker
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.depth import LaneDepth, depth


class LaneFigures(LaneDepth):
    """One lane, and how many of its jobs will not run again by themselves.

    `dead` is None while Postgres, which has the dead letters, does not answer.
    """

    dead: int | None


class Lanes(BaseModel):
    """Every lane, by name."""

    lanes: dict[str, LaneFigures]


class LanePause(BaseModel):
    """A lane, and whether workers start its jobs."""

    lane: Lane
    paused: bool


class LaneSlots(BaseModel):
    """Concurrent jobs in each worker; null: the number in each worker's settings."""

    model_config = ConfigDict(extra="forbid")
    slots: int | None = Field(ge=1, le=1000)


class LaneSlotsSet(LaneSlots):
    """A lane, and the slots that every worker gives it."""

    lane: Lane


async def listing(stoker: Stoker) -> Lanes:
    """Every lane's depth, and how many of its jobs are dead."""
    depths = await depth(stoker.queue)
    dead = await DeadLetters(stoker.engine).count_by_lane()
    return Lanes(
        lanes={
            str(lane): LaneFigures(dead=dead.get(str(lane), 0), **found.model_dump())
            for lane, found in depths.items()
        }
    )


async def pause(stoker: Stoker, actor: Actor, lane: Lane) -> LanePause:
    """Stop workers from starting jobs of the lane."""
    stoker.domain.lane(lane)
    await act(stoker, actor, "lane.pause", {"lane": lane})
    await stoker.queue.pause(lane)
    return LanePause(lane=lane, paused=True)


async def resume(stoker: Stoker, actor: Actor, lane: Lane) -> LanePause:
    """End a pause."""
    stoker.domain.lane(lane)
    await act(stoker, actor, "lane.resume", {"lane": lane})
    await stoker.queue.resume(lane)
    return LanePause(lane=lane, paused=False)


async def set_slots(stoker: Stoker, actor: Actor, lane: Lane, slots: int | None) -> LaneSlotsSet:
    """Set how many jobs of a lane each worker runs at once; None: the number in its settings."""
    stoker.domain.lane(lane)
    await act(stoker, actor, "lane.set", {"lane": lane, "slots": slots})
    if slots is None:
        await stoker.queue.clear_concurrency(lane)
    else:
        await stoker.queue.set_concurrency(lane, slots)
    return LaneSlotsSet(lane=lane, slots=slots)
