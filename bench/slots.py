"""The example application with 20 entries of a schedule, each due every second."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from jobs import domain as projects
from stoker import Every, Job, JobContext, Lane

NOTES = Lane("notes", concurrency=20)
BEGUN = "bench:begun"
"""A list in the queue Redis: the id of a job and the nanoseconds of the wall clock at its start."""
ENTRIES = 20
EVERY = timedelta(seconds=1)


class Note(Job):
    """Say that it has begun."""

    kind = "bench.note"
    lane = NOTES
    entry: int


async def note(context: JobContext, _job: Note) -> None:
    """One command."""
    began = f"{context.job_id} {time.time_ns()}"
    await context.stoker.queue.redis.rpush(BEGUN, began)  # type: ignore[misc]


domain = replace(
    projects,
    lanes=(*projects.lanes, NOTES),
    handlers={**projects.handlers, Note: note},
    schedule=tuple(Every(f"note_{number}", Note(entry=number), EVERY) for number in range(ENTRIES)),
)
