"""Jobs as the script `enqueue` takes them, and how many go into one call."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

from stoker.jobs import Job
from stoker.queue import wire
from stoker.redis.queue import Argument
from stoker.settings import QueueSettings

JOBS_PER_CALL = 500
"""Jobs in one script call; more would block Redis for its other callers for milliseconds."""
BYTES_PER_CALL = 4_000_000
"""Bytes of payloads in one script call, about: more might exceed the time limit of a call."""
REQUESTED_ID = "r-"
"""Prefix of the ids of jobs that were requested in a transaction: the queue takes each of them once."""
REQUEST = re.compile(r"r-[0-9a-f]{32}")
Packed = tuple[str, str, bytes, int, str]
"""One job as the script takes it: name of the lane's zset, id, payload, delay in ms, digest."""
_asked = count()


class Request(NamedTuple):
    """A job that was requested in a transaction: the contents of its row."""

    job_id: str
    lane: str
    payload: bytes
    """As `wire.encode_parts` writes it; of a function of an arq application, all that its worker reads."""
    flag: str
    due_ms: int | None
    trace: str | None


def packed(
    job: Job, job_id: str, now_ms: int, delay_ms: int, trace: str | None, settings: QueueSettings
) -> Packed:
    """A job that is enqueued now."""
    payload = wire.encode(job, now_ms, trace)
    return wire.queue_name(settings, job.lane), job_id, payload, delay_ms, wire.digest(job)


def packed_request(one: Request, settings: QueueSettings) -> Packed:
    """A job that was requested in a transaction."""
    now_ms = clock_ms()
    is_call = ":" in one.lane
    payload = one.payload if is_call else wire.finished(one.payload, now_ms, one.trace)
    delay_ms = max(0, one.due_ms - now_ms) if one.due_ms else 0
    return wire.queue_name(settings, one.lane), one.job_id, payload, delay_ms, one.flag


def in_calls(jobs: Iterable[Packed]) -> Iterator[list[Packed]]:
    """Groups of jobs in their order, each as large as one call may be."""
    call: list[Packed] = []
    held = 0
    for job in jobs:
        if call and (len(call) == JOBS_PER_CALL or held + len(job[2]) > BYTES_PER_CALL):
            yield call
            call, held = [], 0
        call.append(job)
        held += len(job[2])
    if call:
        yield call


def flat(jobs: Iterable[Packed]) -> Iterator[Argument]:
    """The script's arguments for jobs of one call."""
    for job in jobs:
        yield from job


def new_job_id(now_ms: int) -> str:
    """An id that is random, but ordered by the time of asking.

    Jobs that are due in the same millisecond are claimed in the order of their ids.
    """
    return f"{now_ms:011x}{next(_asked) & 0xFFFFF:05x}{secrets.token_hex(8)}"


def is_request_id(job_id: str) -> bool:
    """Whether `request_id` may have made this id."""
    return REQUEST.fullmatch(job_id) is not None


def request_id() -> str:
    """The id of a job that is requested in a transaction."""
    return f"{REQUESTED_ID}{new_job_id(clock_ms())}"


def clock_ms() -> int:
    """This process's clock, in milliseconds since 1970."""
    return int(time.time() * 1000)
