"""Jobs in the queue: those that wait, run or are parked, read from the queue Redis.

Reads a bounded number of jobs, however many there are. Raises QueueUnavailable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from stoker.errors import InvalidJob
from stoker.jobs import parse
from stoker.queue import wire
from stoker.queue.stored import stored
from stoker.redis.queue import answering
from stoker.stoker import Stoker
from stoker.worker.engine.claims import FAR_MS


class LiveState(StrEnum):
    """The state of a job that has not ended."""

    READY = "ready"
    DEFERRED = "deferred"
    RUNNING = "running"
    PARKED = "parked"


class LiveJob(BaseModel):
    """A job in the queue. `due_at`: when it may start; for a running one, when its claim runs out.

    `fair_key`: it takes turns with jobs of other keys, and is ready also while it waits for jobs of its own.
    """

    job_id: str
    lane: str
    kind: str
    state: LiveState
    scope: str | None
    due_at: datetime | None
    enqueued_at: datetime | None
    fair_key: str | None = None


async def live_jobs(
    stoker: Stoker, lanes: Sequence[str], states: Sequence[LiveState], most: int
) -> list[LiveJob]:
    """Jobs in the queue, at most so many of each lane and state: two round trips."""
    places = [(lane, state) for lane in lanes for state in _places(states)]
    now_ms = int(time.time() * 1000)
    far = now_ms + FAR_MS // 2
    async with answering(stoker.queue.settings.timeout_s):
        async with stoker.queue.redis.pipeline(transaction=False) as pipe:
            for lane, state in places:
                name = wire.queue_name(stoker.queue.settings, lane)
                if state is LiveState.READY:
                    pipe.zrange(name, "-inf", now_ms, byscore=True, offset=0, num=most, withscores=True)  # type: ignore[arg-type]
                elif state is LiveState.DEFERRED:
                    # Running and parked jobs lie in the lane's own set too, far in the future.
                    pipe.zrange(name, f"({now_ms}", far, byscore=True, offset=0, num=most, withscores=True)  # type: ignore[arg-type]
                elif state is None:
                    behind = now_ms + FAR_MS * 3 // 2
                    pipe.zrange(name, behind, "+inf", byscore=True, offset=0, num=most, withscores=True)  # type: ignore[arg-type]
                else:
                    pipe.zrange(f"{name}:{state}", 0, most - 1, withscores=True)
            found = await pipe.execute()
        ids = [job_id for pairs in found for job_id, _ in pairs]
        payloads = await stoker.queue.redis.mget([b"arq:job:" + job_id for job_id in ids]) if ids else []
    held = dict(zip(ids, payloads, strict=True))
    return [
        _live(stoker, lane, state or LiveState.READY, job_id, _due_ms(score, now_ms), held[job_id])
        for (lane, state), pairs in zip(places, found, strict=True)
        for job_id, score in pairs
    ]


async def live_job(stoker: Stoker, job_id: str) -> tuple[LiveJob, Any] | None:
    """One job in the queue with its arguments; None if the queue does not have it."""
    raw = job_id.encode(errors="replace")
    prefix = [wire.queue_name(stoker.queue.settings, lane) for lane in stoker.queue.lanes]
    places = [(lane, state) for lane in stoker.queue.lanes for state in ("", ":running", ":parked")]
    async with (
        answering(stoker.queue.settings.timeout_s),
        stoker.queue.redis.pipeline(transaction=False) as pipe,
    ):
        pipe.get(b"arq:job:" + raw)
        for name in prefix:
            for suffix in ("", ":running", ":parked"):
                pipe.zscore(name + suffix, raw)
        payload, *scores = await pipe.execute()
    found: LiveJob | None = None
    for (lane, suffix), score in zip(places, scores, strict=True):
        if score is None:
            continue
        state = LiveState(suffix[1:]) if suffix else LiveState.READY
        due_ms = _due_ms(score, time.time() * 1000)
        if not suffix and due_ms > time.time() * 1000:
            state = LiveState.DEFERRED
        found = _live(stoker, lane, state, raw, due_ms, payload)
    return None if found is None else (found, _arguments(stoker, found.lane, payload))


def _places(states: Sequence[LiveState]) -> Iterator[LiveState | None]:
    """The states, and None after the ready jobs: those that wait behind the first one of their fair key."""
    for state in states:
        yield state
        if state is LiveState.READY:
            yield None


def _due_ms(score: float, now_ms: float) -> float:
    return score - 2 * FAR_MS if score > now_ms + FAR_MS * 3 // 2 else score


def _live(
    stoker: Stoker, lane: str, state: LiveState, job_id: bytes, score: float, payload: bytes | None
) -> LiveJob:
    kind, scope, enqueued_ms, fair_key = "<unknown>", None, 0, None
    job = _stored(stoker, lane, payload)
    if job is not None:
        kind, enqueued_ms, fair_key = job.kind, job.enqueued_ms, wire.fair_key_of(job.fair)
        try:
            scope = stoker.domain.subject_of(parse(job.kind, job.payload, stoker.domain.job_types))
        except InvalidJob:
            scope = None
    return LiveJob(
        job_id=job_id.decode(errors="replace"),
        lane=lane,
        kind=kind,
        state=state,
        scope=_writable(scope),
        due_at=None if state is LiveState.PARKED else _moment(score),
        enqueued_at=_moment(enqueued_ms),
        fair_key=fair_key,
    )


def _arguments(stoker: Stoker, lane: str, payload: bytes | None) -> Any:  # noqa: ANN401 - whatever was enqueued
    found = _stored(stoker, lane, payload)
    return None if found is None else _writable(found.payload)


def _stored(stoker: Stoker, lane: str, payload: bytes | None) -> wire.Stored | None:
    try:
        return None if payload is None else stored(stoker.domain, lane, payload)
    except InvalidJob:
        return None


def _writable(value: Any) -> Any:  # noqa: ANN401 - whatever was enqueued
    """The value without lone surrogates, which JSON can spell and UTF-8 cannot encode."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _moment(ms: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC) if ms > 0 else None
    except (OverflowError, ValueError, OSError):
        return None
