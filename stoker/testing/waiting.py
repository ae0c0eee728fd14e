"""The jobs that are enqueued and have not ended: in the queue, or requested in a committed transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import select

from stoker.errors import InvalidJob
from stoker.jobs import Job, Relay, parse
from stoker.postgres import fetched
from stoker.queue import wire
from stoker.queue.stored import stored
from stoker.redis.queue import answering
from stoker.stoker import Stoker
from stoker.tables import job_requests
from stoker.testing.found import check_fields, has, listed, named, shown

J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Waiting:
    """A job that waits."""

    job_id: str
    kind: str
    lane: str
    job: Job | None
    """None where it cannot be read."""
    due_at: datetime
    """In the past where it is due."""
    why: str
    """`due`, `later`, `running`, `parked` (no handler), or `paused` (its lane)."""

    def __str__(self) -> str:
        later = f", due at {self.due_at:%Y-%m-%d %H:%M:%S} UTC" if self.why == "later" else ""
        return f"{shown(self.job, self.kind)} ({self.why}{later})"


async def enqueued(stoker: Stoker) -> list[Waiting]:
    """Every job that waits or runs, by lane and time; those requested in committed transactions, too.

    Stoker's own relays are left out.
    """
    found = [job for lane in stoker.domain.all_lanes for job in await _of_lane(stoker, lane)]
    rows = await fetched(stoker.engine, select(job_requests).where(job_requests.c.delivered_at.is_(None)))
    there = {one.job_id for one in found}  # delivered, but not marked as delivered yet
    found = [one for one in found if one.kind != Relay.kind]  # whether one is there depends on timing
    found += [_requested(stoker, row) for row in rows if row["job_id"] not in there]
    lanes = {str(lane): number for number, lane in enumerate(stoker.domain.all_lanes)}
    return sorted(found, key=lambda one: (lanes.get(one.lane, len(lanes)), one.due_at))


async def assert_enqueued(stoker: Stoker, kind: type[J], **fields: Any) -> J:  # noqa: ANN401 - of the job
    """The first job of this class that waits and has these fields; AssertionError says which jobs there are.

    A job that `drain` has run no longer waits. `enqueued` gives all, with the times at which they are due.
    """
    __tracebackhide__ = True
    check_fields(kind, fields)
    there = await enqueued(stoker)
    for one in there:
        if type(one.job) is kind and has(one.job, fields):
            return one.job
    wanted = named(kind.kind, fields) if fields else kind.kind
    raise AssertionError(f"no {wanted} was enqueued; enqueued were: {listed(map(str, there))}")


async def _of_lane(stoker: Stoker, lane: str) -> Sequence[Waiting]:
    redis: Any = stoker.queue.redis  # the driver types its replies as awaitable or not
    queue = wire.queue_name(stoker.queue.settings, lane)
    async with answering(stoker.queue.settings.timeout_s):
        due = await redis.zrange(queue, 0, -1, withscores=True)
        running = set(await redis.zrange(f"{queue}:running", 0, -1))
        parked = set(await redis.zrange(f"{queue}:parked", 0, -1))
        paused = bool(await redis.exists(f"{queue}:paused"))
        payloads = await redis.mget([b"arq:job:" + job_id for job_id, _ in due]) if due else []
    return list(_read(stoker, lane, zip(due, payloads, strict=True), _Sets(running, parked, paused)))


@dataclass(frozen=True)
class _Sets:
    running: set[bytes]
    parked: set[bytes]
    is_paused: bool

    def why(self, job_id: bytes, due_at: datetime) -> str:
        if job_id in self.parked:
            return "parked"
        if job_id in self.running:
            return "running"
        if due_at > datetime.now(UTC):
            return "later"
        return "paused" if self.is_paused else "due"


def _read(stoker: Stoker, lane: str, found: Any, sets: _Sets) -> Iterator[Waiting]:  # noqa: ANN401 - of Redis
    for (job_id, due_ms), payload in found:
        due_at = datetime.fromtimestamp(due_ms / 1000, UTC)
        kind, job = "<unreadable>", None
        try:
            said = stored(stoker.domain, lane, payload or b"")
            kind, job = said.kind, parse(said.kind, said.payload, stoker.domain.job_types)
        except InvalidJob:
            pass
        yield Waiting(job_id.decode(), kind, lane, job, due_at, sets.why(job_id, due_at))


def _requested(stoker: Stoker, row: Any) -> Waiting:  # noqa: ANN401 - a row of the table
    try:
        job: Job | None = parse(row["kind"], row["arguments"], stoker.domain.job_types)
    except InvalidJob:
        job = None
    due_at = row["due_at"] or row["requested_at"]
    why = "later" if due_at > datetime.now(UTC) else "due"
    return Waiting(row["job_id"], row["kind"], row["lane"], job, due_at, why)
