"""The schedule in tests, without waiting: which jobs it enqueues at a moment, or between two."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from stoker.errors import BadRequest
from stoker.jobs import Job
from stoker.schedule import MAINTENANCE
from stoker.stoker import Stoker
from stoker.worker.schedule.tasks import Task, tasks


@dataclass(frozen=True)
class Slot:
    """One slot of the schedule."""

    name: str
    """The entry's."""
    at: datetime
    """In UTC."""
    job: Job
    job_id: str
    """The job that does its work: where slots coalesce, several have the same."""


async def schedule_at(stoker: Stoker, moment: datetime, until: datetime | None = None) -> list[Slot]:
    """Enqueue what the domain's schedule would at this moment, or from it until another, both included.

    Returns the slots, by time. The jobs are due at once: `drain` runs them. Stoker's own maintenance is left
    out. Nothing is written to the ledger: the same moment enqueues again. Raises BadRequest for a moment
    without a time zone.
    """
    until = moment if until is None else until
    for given in (moment, until):
        if given.tzinfo is None:
            raise BadRequest(
                f"a moment without a time zone: {given.isoformat()}; give it one", field="moment"
            )
    # By name: in force, an entry of MAINTENANCE may have another interval or job than the declared one.
    ours = {entry.name for entry in stoker.domain.schedule if entry in MAINTENANCE}
    own = [task for task in tasks(stoker.settings.schedule, stoker.domain) if task.name not in ours]
    due = sorted(
        ((at, task.name, task.job) for task in own for at in _slots(task, moment, until)),
        key=lambda one: one[:2],
    )
    answers = await stoker.enqueue_many([job for _, _, job in due])
    return [Slot(name, at, job, asked.job_id) for (at, name, job), asked in zip(due, answers, strict=True)]


def _slots(task: Task, moment: datetime, until: datetime) -> list[datetime]:
    begin, end = moment.astimezone(UTC), until.astimezone(UTC)
    return list(takewhile(lambda at: at >= begin, task.backwards(end)))
