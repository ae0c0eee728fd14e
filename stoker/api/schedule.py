"""Routes under /api/schedule: when tasks run and how they ran; run one now, pause it, resume it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from stoker.api.access import Operator, SteadyOperator, Viewer
from stoker.api.context import OpenStoker, ReadingStoker, TheSettings
from stoker.operations import schedule
from stoker.operations.schedule import TaskPause, TaskRun, Tasks

router = APIRouter(prefix="/api/schedule", tags=["schedule"])

TaskName = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,64}$")]


@router.get("")
async def listing(_: Viewer, stoker: ReadingStoker, settings: TheSettings) -> Tasks:
    """Next and last runs of each task, how late they were and how long they took."""
    return await schedule.listing(stoker, settings.schedule)


@router.post("/{name}/run", status_code=202)
async def run(name: TaskName, operator: SteadyOperator, stoker: OpenStoker, settings: TheSettings) -> TaskRun:
    """Run a task now, in addition to its schedule."""
    return await schedule.run_now(stoker, operator.actor, settings.schedule, name)


@router.post("/{name}/pause")
async def pause(name: TaskName, operator: Operator, stoker: OpenStoker, settings: TheSettings) -> TaskPause:
    """Skip a task's slots until it is resumed, in every worker."""
    return await schedule.pause(stoker, operator.actor, settings.schedule, name)


@router.post("/{name}/resume")
async def resume(name: TaskName, operator: Operator, stoker: OpenStoker, settings: TheSettings) -> TaskPause:
    """Run a task at its slots again, from the next one on."""
    return await schedule.resume(stoker, operator.actor, settings.schedule, name)
