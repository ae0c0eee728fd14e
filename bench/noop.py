"""The example application with one job more: as tiny as those of the peers, in a lane of its own."""

from __future__ import annotations

from dataclasses import replace

from jobs import domain as projects
from stoker import Job, JobContext, Lane

TINY = Lane("tiny", concurrency=100)


class Unlink(Job):
    """Delete one key."""

    kind = "bench.unlink"
    lane = TINY
    key: str


async def unlink(context: JobContext, job: Unlink) -> None:
    """One command, as the peers' jobs send."""
    await context.stoker.queue.redis.unlink(job.key)


domain = replace(projects, lanes=(*projects.lanes, TINY), handlers={**projects.handlers, Unlink: unlink})
