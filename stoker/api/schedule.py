"""Routes under /api/schedule: when tasks run and how they ran; run one now, pause it, resume it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel

from stoker.api.access import Operator, SteadyOperator, Viewer
from stoker.api.context import OpenStoker, TheSettings
from stoker.operations import listings, steering
from stoker.operations.listings import TaskFigures
from stoker.worker.schedule.tasks import tasks

router = APIRouter(prefix="/api/schedule", tags=["schedule"])

SLOTS = 10
TaskName = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,64}$")]


class Tasks(BaseModel):
    """Every task of the schedule."""

    tasks: list[TaskFigures]


class Asked(BaseModel):
    """The job that will do it."""

    task: str
    job_id: str


class TaskPause(BaseModel):
    """A task, and whether its slots pass without a run."""

    task: str
    paused: bool


@router.get("")
async def listing(_: Viewer, stoker: OpenStoker, settings: TheSettings) -> Tasks:
    """Next and last runs of each task, how late they were and how long they took."""
    return Tasks(tasks=await listings.schedule(stoker, tasks(settings.schedule, stoker.domain), SLOTS))


@router.post("/{name}/run", status_code=202)
async def run(name: TaskName, operator: SteadyOperator, stoker: OpenStoker, settings: TheSettings) -> Asked:
    """Run a task now, besides its times."""
    task = steering.task_named(settings.schedule, stoker.domain, name)
    return Asked(task=name, job_id=await steering.run_now(stoker, operator.actor, task))


@router.post("/{name}/pause")
async def pause(name: TaskName, operator: Operator, stoker: OpenStoker, settings: TheSettings) -> TaskPause:
    """Let a task's slots pass until it is resumed; for every worker."""
    await steering.pause_task(
        stoker, operator.actor, steering.task_named(settings.schedule, stoker.domain, name)
    )
    return TaskPause(task=name, paused=True)


@router.post("/{name}/resume")
async def resume(name: TaskName, operator: Operator, stoker: OpenStoker, settings: TheSettings) -> TaskPause:
    """Run a task at its slots again, from the next one on."""
    await steering.resume_task(
        stoker, operator.actor, steering.task_named(settings.schedule, stoker.domain, name)
    )
    return TaskPause(task=name, paused=False)
