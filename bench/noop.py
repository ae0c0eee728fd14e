"""The example application with one job more: as tiny as those of the peers, in a lane of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis

from jobs import domain as projects
from stoker import Job, JobContext, Lane, Stoker
from stoker.settings import require

TINY = Lane("tiny", concurrency=100)


class Unlink(Job):
    """Delete one key; without one, do nothing."""

    kind = "bench.unlink"
    lane = TINY
    key: str


async def unlink(context: JobContext, job: Unlink) -> None:
    """One command to the cache, by a client of the job's own, as the peers' jobs do."""
    if job.key:
        await context.resources.unlink(job.key)


@asynccontextmanager
async def client(stoker: Stoker) -> AsyncIterator[Redis]:
    """A client of the cache for all jobs of a worker."""
    url = require(stoker.settings.cache_redis_url, "CACHE_REDIS_URL")
    async with Redis.from_url(url) as redis:
        yield redis


domain = replace(
    projects,
    lanes=(*projects.lanes, TINY),
    handlers={**projects.handlers, Unlink: unlink},
    lifespan=client,
)
