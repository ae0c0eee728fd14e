"""Batches: jobs that are enqueued together, counted as they end, and a job that follows after the last one.

The scripts that end a job count it in the same step (docs/decisions/0018-batches.md). A member is known by
its id, so that it is counted even where its payload is lost. Raises QueueUnavailable.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from stoker import tracing
from stoker.errors import BadRequest, QueueUnavailable
from stoker.jobs import Job
from stoker.numbers import LATEST_S, real, whole
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.queue.packing import JOBS_PER_CALL, Packed, clock_ms, in_calls, new_job_id
from stoker.queue.prelude import PRELUDE
from stoker.redis.queue import Argument, answering
from stoker.redis.script import Script

BATCH = Script("stoker.queue", "batch", PRELUDE)
BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,49}")
PART_OF = re.compile(rf"b-({BATCH_ID.pattern})-(?:\d{{6}}|(then))")
"""The id of a member, or of the job that follows."""
MOST_MEMBERS = 1_000_000
ANOTHER, GONE = -1, -2
"""Replies of batch.lua."""
HOURS_LISTED = 24


@dataclass(frozen=True)
class Batch:
    """Jobs that were enqueued together, and how many of them have ended how.

    `added`: how many were enqueued so far; fewer than `total` only while `enqueue_batch` runs, or where its
    caller died meanwhile. `failed` became dead letters. `unknown` have ended where they are not counted: a
    stock arq worker ran them. `then_id` is the id of the job that follows after the last one.
    """

    batch_id: str
    total: int
    added: int
    done: int
    failed: int
    cancelled: int
    unknown: int
    created_at: datetime
    ended_at: datetime | None
    then_id: str | None

    @property
    def ended(self) -> int:
        """How many have ended, in whatever way."""
        return self.done + self.failed + self.cancelled + self.unknown

    @property
    def job_ids(self) -> list[str]:
        """The ids of all members, in the order in which they were given."""
        return [member_id(self.batch_id, number) for number in range(self.total)]


def member_id(batch_id: str, number: int) -> str:
    """The id of a member. Six digits: jobs of the same millisecond begin in the order of their ids."""
    return f"b-{batch_id}-{number:06}"


def check_batch(jobs: Sequence[Job], then: Job | None, batch_id: str | None) -> None:
    """Raise BadRequest for an impossible batch."""
    if len(jobs) > MOST_MEMBERS:
        said = f"a batch of {len(jobs):,} jobs; at most {MOST_MEMBERS:,}: make several batches"
        raise BadRequest(said, field="jobs")
    if batch_id is not None and (not isinstance(batch_id, str) or not BATCH_ID.fullmatch(batch_id)):
        raise BadRequest(
            f"batch_id must be 1 to 50 letters, digits and _ . : -, not {batch_id!r:.80}", field="batch_id"
        )
    for job in (*jobs, *([then] if then is not None else [])):
        if wire.digest(job):
            raise BadRequest(
                f"{job.kind} has a coalesce key: it may join a job that is not in the batch, and then its "
                "end is not counted. Use a kind without coalesce_key() in batches",
                field="jobs",
            )


async def enqueue_batch(
    queue: Queue, jobs: Sequence[Job], then: Job | None, batch_id: str | None, delay: timedelta
) -> Batch:
    """Write the members that are not written yet, in parts of 500 or 4 MB; see Stoker.enqueue_batch."""
    now_ms, delay_ms, trace = clock_ms(), max(0, round(delay.total_seconds() * 1000)), tracing.current()
    batch_id = batch_id or new_job_id(now_ms)
    follows: list[Argument] = ["", "", ""]
    if then is not None:
        follows = [wire.queue_name(queue.settings, then.lane), *wire.around_its_time(then, trace)]
    members = await _packed(queue, jobs, batch_id, delay_ms, trace)
    first = 0
    for part in list(in_calls(members)) or [[]]:
        about: list[Argument] = [batch_id, len(jobs), first, delay_ms, *follows]
        for name, _, payload, *_ in part:
            about += [name, payload]
        _check_reply(await queue.connection.call(BATCH, queue.settings.expires_s * 1000, *about), batch_id)
        first += len(part)
    found = await batch_of(queue, batch_id)
    if found is None:
        raise _gone(batch_id)
    return found


async def batch_of(queue: Queue, batch_id: str) -> Batch | None:
    """How many members have ended how; None if there is no such batch, or it ended too long ago."""
    async with answering(queue.settings.timeout_s):
        return _read(batch_id, await queue.redis.hgetall(_key(queue, batch_id)))  # type: ignore[misc]


async def batch_of_job(queue: Queue, job_id: str, *, following: bool = False) -> Batch | None:
    """The batch of which a job is a member or, with `following`, that it follows."""
    found = PART_OF.fullmatch(job_id)
    if found is None or (following and found[2] is None):
        return None
    return await batch_of(queue, found[1])


async def latest(queue: Queue, most: int) -> list[Batch]:
    """Batches that are open, then those that ended within a day, the latest first."""
    prefix = queue.settings.prefix
    since_ms = clock_ms() - HOURS_LISTED * 3_600_000
    async with answering(queue.settings.timeout_s):
        async with queue.redis.pipeline(transaction=False) as pipe:
            pipe.zrange(f"{prefix}:batches", 0, most - 1)
            now: Any = "+inf"  # the driver's types know ranks alone
            pipe.zrange(f"{prefix}:batches_ended", now, since_ms, desc=True, byscore=True, offset=0, num=most)
            opened, ended = await pipe.execute()
        ids = [raw.decode(errors="replace") for raw in (*opened, *ended)][:most]
        async with queue.redis.pipeline(transaction=False) as pipe:
            for batch_id in ids:
                pipe.hgetall(_key(queue, batch_id))
            found = await pipe.execute()
    read = (_read(batch_id, fields) for batch_id, fields in zip(ids, found, strict=True))
    return [batch for batch in read if batch is not None]


async def _packed(
    queue: Queue, jobs: Sequence[Job], batch_id: str, delay_ms: int, trace: str | None
) -> list[Packed]:
    """All members, before any is written: one that is refused leaves no half of a batch."""
    now_ms, members = clock_ms(), list[Packed]()
    for number, job in enumerate(jobs):
        payload = wire.encode(job, now_ms, trace)
        name = wire.queue_name(queue.settings, job.lane)
        members.append((name, member_id(batch_id, number), payload, delay_ms, ""))
        if number % JOBS_PER_CALL == 0:
            await asyncio.sleep(0)  # let other requests of this process run
    return members


def _check_reply(added: int, batch_id: str) -> None:
    if added == ANOTHER:
        raise BadRequest(
            f"there is a batch {batch_id} of another number of jobs: give the same jobs, or another batch_id",
            field="batch_id",
        )
    if added == GONE:
        raise _gone(batch_id)


def _gone(batch_id: str) -> QueueUnavailable:
    return QueueUnavailable(f"the queue lost its data while batch {batch_id} was enqueued: enqueue it again")


def _key(queue: Queue, batch_id: str) -> str:
    return f"{queue.settings.prefix}:batch:{batch_id}"


def _read(batch_id: str, stored: dict[bytes, bytes]) -> Batch | None:
    fields: dict[str, Any] = {name.decode(errors="replace"): value for name, value in stored.items()}
    if "total" not in fields:
        return None
    counts = {
        name: whole(fields.get(name)) for name in ("total", "added", "done", "failed", "cancelled", "unknown")
    }
    return Batch(
        batch_id=batch_id,
        **counts,
        created_at=_moment(fields.get("created_ms")),
        ended_at=_moment(fields["ended_ms"]) if "ended_ms" in fields else None,
        then_id=f"b-{batch_id}-then" if fields.get("then_queue") else None,
    )


def _moment(ms: Any) -> datetime:  # noqa: ANN401 - what somebody has written
    return datetime.fromtimestamp(real(ms, most=LATEST_S * 1000) / 1000, UTC)
