"""What is stressed: an entry's builds, which read how often it has changed and write down what they read.

A build that reads before a change and writes after the build that saw it, or a change that no build follows,
leaves an entry for ever behind: a lost update.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from stoker.jobs import Job, Lane
from stoker.queue.answers import Answer
from stoker.queue.enqueue import Queue


class Build(Job):
    """Build one entry."""

    kind = "stress.build.v1"
    lane = Lane.REFRESH
    one_at_a_time = True
    timeout = timedelta(seconds=20)
    entry: int

    def coalesce_key(self) -> str:
        """By entry."""
        return f"{self.kind}|{self.entry}"


class LooseBuild(Build):
    """The same without its guard: two builds of an entry may run at once."""

    kind = "stress.loose_build.v1"
    one_at_a_time = False


JOBS: dict[str, type[Job]] = {job.kind: job for job in (Build, LooseBuild)}


class Entries:
    """How often each entry has changed, and what its last build saw; in the queue Redis."""

    def __init__(self, queue: Queue, job: type[Build] = Build, longest_build_s: float = 0.004) -> None:
        self._queue = queue
        self._longest_build_s = longest_build_s
        self._job_type = job
        self._redis: Any = queue.redis
        self._changed = f"{queue.settings.prefix}:stress:changed"
        self._built = f"{queue.settings.prefix}:stress:built"

    async def change(self, entries: Sequence[int]) -> list[Answer]:
        """Change entries, and ask for their builds afterwards."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.hincrby(self._changed, entry, 1)
            await pipe.execute()
        asked = await self._queue.enqueue_many([self._job_type(entry=entry) for entry in entries])
        return [one.answer for one in asked]

    async def build(self, job_id: str, job: Job, attempt: int) -> str:
        """The engine's `run`."""
        seen = await self.read(job)
        await asyncio.sleep(random.random() * self._longest_build_s)
        await self.write(job, seen)
        return "done"

    async def read(self, job: Job) -> bytes:
        """How often the job's entry has changed."""
        return bytes(await self._redis.hget(self._changed, job.model_dump()["entry"]))

    async def write(self, job: Job, seen: bytes) -> None:
        """Note what a build saw."""
        await self._redis.hset(self._built, job.model_dump()["entry"], seen)

    async def behind(self) -> dict[int, tuple[int, int]]:
        """Entries whose last build did not see their last change: entry -> (seen, changed)."""
        changed: dict[bytes, bytes] = await self._redis.hgetall(self._changed)
        built: dict[bytes, bytes] = await self._redis.hgetall(self._built)
        return {
            int(entry): (int(built.get(entry, 0)), int(times))
            for entry, times in changed.items()
            if built.get(entry, b"0") != times
        }
