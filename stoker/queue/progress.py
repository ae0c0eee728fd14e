"""How far a job is: a hash per job in the queue Redis, kept for a day.

The last state of a job is written by the script that ends it, in the same step (`<p>:progress:<id>`). Nothing
depends on it: a lost report is not displayed, nothing else. Raises QueueUnavailable when Redis does not
answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis

from stoker.numbers import LATEST_S, real, whole
from stoker.redis.queue import answering
from stoker.settings import QueueSettings

KEPT = timedelta(days=1)
LONGEST_ERROR = 2000
"""Characters of an error that are kept."""


class JobState(StrEnum):
    """Where a reported job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class ProgressReport:
    """The last report about a job: `done` of `total` entries, 0 of 0 while the total is unknown."""

    state: JobState
    done: int
    total: int
    error: str | None
    updated_at: datetime


class Progress:
    """Reports of jobs, written by the worker and read by API and CLI."""

    def __init__(self, redis: Redis, settings: QueueSettings) -> None:
        self._redis: Any = redis  # the driver types its replies as awaitable or not
        self._prefix = settings.prefix
        self._timeout_s = settings.timeout_s

    async def queued(self, job_id: str) -> None:
        """A followed job waits. Does not overwrite what a faster worker has reported."""
        async with answering(self._timeout_s):
            created = await self._redis.hsetnx(self._key(job_id), "state", JobState.QUEUED)
        if created:
            await self._write(job_id, {"done": 0, "total": 0})

    async def report(self, job_id: str, done: int, total: int) -> None:
        """The job runs and has finished `done` of `total`."""
        await self._write(job_id, {"state": JobState.RUNNING, "done": done, "total": total})

    async def leave_off(self, job_id: str, at: int) -> None:
        """The job gives way to others and will continue at this entry."""
        await self._write(job_id, {"left_off": at})

    async def left_off(self, job_id: str) -> int:
        """The entry at which the job continues; 0 for one that begins."""
        async with answering(self._timeout_s):
            return whole(await self._redis.hget(self._key(job_id), "left_off"))

    async def finish(self, job_id: str, state: JobState, error: str | None = None) -> None:
        """The job has ended; counts stay as last reported."""
        await self._write(job_id, {"state": state, "error": (error or "")[:LONGEST_ERROR]})

    async def read(self, job_id: str) -> ProgressReport | None:
        """The last report; None if there was none within a day, or it cannot be read."""
        async with answering(self._timeout_s):
            stored = await self._redis.hgetall(self._key(job_id))
        return _report(
            {field.decode(errors="replace"): text.decode(errors="replace") for field, text in stored.items()}
        )

    async def keep_result(self, job_id: str, result: bytes, kept: timedelta) -> None:
        """Keep what the job's handler returned, as JSON."""
        async with answering(self._timeout_s):
            await self._redis.set(self._result_key(job_id), result, px=kept)

    async def result(self, job_id: str) -> bytes | None:
        """What the job's handler returned, as JSON; None before its end, or if it is not kept."""
        async with answering(self._timeout_s):
            found: bytes | None = await self._redis.get(self._result_key(job_id))
            return found

    async def beginning(self, job_id: str, most: int) -> tuple[str, int, timedelta | None] | None:
        """The first `most` bytes of a result as text, its size in bytes, and how long it is still kept.

        None where there is none, also for what somebody else has written there.
        """
        key = self._result_key(job_id)
        async with answering(self._timeout_s), self._redis.pipeline(transaction=False) as pipe:
            pipe.getrange(key, 0, most - 1)
            pipe.strlen(key)
            pipe.pttl(key)
            text, size_bytes, left_ms = replies = await pipe.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE "):
                    raise reply
        if not isinstance(text, bytes) or not text:
            return None
        left = timedelta(milliseconds=left_ms) if left_ms >= 0 else None
        return text.decode(errors="replace"), size_bytes, left

    async def _write(self, job_id: str, fields: dict[str, str | int]) -> None:
        key = self._key(job_id)
        async with answering(self._timeout_s), self._redis.pipeline() as pipe:
            pipe.hset(key, mapping={**fields, "updated_ms": int(time.time() * 1000)})
            pipe.expire(key, KEPT)
            await pipe.execute()

    def _result_key(self, job_id: str) -> str:
        return f"{self._prefix}:result:{job_id}"

    def _key(self, job_id: str) -> str:
        return f"{self._prefix}:progress:{job_id}"


def _report(found: Mapping[str, str]) -> ProgressReport | None:
    if found.get("state") not in set(JobState):
        return None
    return ProgressReport(
        state=JobState(found["state"]),
        done=whole(found.get("done")),
        total=whole(found.get("total")),
        error=found.get("error") or None,
        updated_at=datetime.fromtimestamp(real(found.get("updated_ms"), most=LATEST_S * 1000) / 1000, UTC),
    )
