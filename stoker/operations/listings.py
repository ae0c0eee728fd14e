"""What operators list: jobs that wait or run, what became of one job, dead letters by cause, the schedule.

Every listing looks at a bounded number of jobs and rows, however many there are. Raises QueueUnavailable or
DatabaseUnavailable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text

from stoker.errors import InvalidJob
from stoker.jobs import Lane, parse
from stoker.postgres import database_errors
from stoker.queue import wire
from stoker.redis.queue import answering
from stoker.stoker import Stoker
from stoker.worker.engine.claims import FAR_MS
from stoker.worker.engine.dead_letters import DeadJob
from stoker.worker.schedule.tasks import Task, utc_now

SLOTS = text(files("stoker.worker.schedule").joinpath("task_slots.sql").read_text())
DEAD_GROUPS = text(
    "SELECT cause.*, newest.lane, newest.kind, newest.reason, newest.error FROM ("
    "SELECT fingerprint, count(*) AS letters, min(died_at) AS first_died_at, max(died_at) AS last_died_at"
    " FROM stoker.dead_jobs GROUP BY fingerprint ORDER BY last_died_at DESC LIMIT :limit) AS cause"
    " CROSS JOIN LATERAL (SELECT lane, kind, reason, error FROM stoker.dead_jobs"
    " WHERE fingerprint = cause.fingerprint ORDER BY died_at DESC LIMIT 1) AS newest"
    " ORDER BY last_died_at DESC"
)


class LiveState(StrEnum):
    """Where a job stands that has not ended."""

    READY = "ready"
    DEFERRED = "deferred"
    RUNNING = "running"
    PARKED = "parked"


class LiveJob(BaseModel):
    """A job in the queue. `due_at`: when it may begin; for a running one, when its claim runs out."""

    job_id: str
    lane: Lane
    kind: str
    state: LiveState
    scope: str | None
    due_at: datetime | None
    enqueued_at: datetime | None


class DeadGroup(BaseModel):
    """Dead letters of one fingerprint: one cause, most likely. The rest is of the newest of them."""

    fingerprint: str
    letters: int
    lane: str
    kind: str
    reason: str
    error: str
    first_died_at: datetime
    last_died_at: datetime


class SlotFigures(BaseModel):
    """A run of a task. `asked_by`: who ran it by hand. Durations are None until the job has ended."""

    slot: datetime
    state: str
    late_s: float
    asked_by: str | None
    job_id: str | None
    waited_s: float | None
    ran_s: float | None
    outcome: str | None
    error: str | None


class TaskFigures(BaseModel):
    """A task of the schedule: when it runs next, and how it ran lately, the newest first."""

    name: str
    kind: str
    every_s: float
    next_at: datetime
    paused_by: str | None
    paused_at: datetime | None
    slots: list[SlotFigures]


async def live_jobs(
    stoker: Stoker, lanes: Sequence[Lane], states: Sequence[LiveState], most: int
) -> list[LiveJob]:
    """Jobs in the queue, at most so many of each lane and state: two round trips."""
    places = [(lane, state) for lane in lanes for state in states]
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
                else:
                    pipe.zrange(f"{name}:{state}", 0, most - 1, withscores=True)
            found = await pipe.execute()
        ids = [job_id for pairs in found for job_id, _ in pairs]
        payloads = await stoker.queue.redis.mget([b"arq:job:" + job_id for job_id in ids]) if ids else []
    held = dict(zip(ids, payloads, strict=True))
    return [
        _live(stoker, lane, state, job_id, score, held[job_id])
        for (lane, state), pairs in zip(places, found, strict=True)
        for job_id, score in pairs
    ]


async def live_job(stoker: Stoker, job_id: str) -> tuple[LiveJob, Any] | None:
    """One job in the queue with its arguments; None if it is not (any more) there."""
    raw = job_id.encode(errors="replace")
    prefix = [wire.queue_name(stoker.queue.settings, lane) for lane in Lane]
    places = [(lane, state) for lane in Lane for state in ("", ":running", ":parked")]
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
        if not suffix and score > time.time() * 1000:
            state = LiveState.DEFERRED
        found = _live(stoker, lane, state, raw, score, payload)
    return None if found is None else (found, _arguments(payload))


async def dead_letter(stoker: Stoker, job_id: str) -> DeadJob | None:
    """The dead letter of a job."""
    with database_errors():
        async with stoker.engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT * FROM stoker.dead_jobs WHERE job_id = :job_id"), {"job_id": job_id}
            )
            row = rows.mappings().first()
    return None if row is None else DeadJob(**row)


async def dead_groups(stoker: Stoker, limit: int) -> list[DeadGroup]:
    """Dead letters by cause, the latest first; counts come from an index."""
    with database_errors():
        async with stoker.engine.connect() as connection:
            rows = await connection.execute(DEAD_GROUPS, {"limit": limit})
            return [DeadGroup(**row) for row in rows.mappings()]


async def schedule(stoker: Stoker, tasks: Sequence[Task], slots: int) -> list[TaskFigures]:
    """Every task with its last slots."""
    values = {"tasks": [task.name for task in tasks], "slots": slots}
    with database_errors():
        async with stoker.engine.connect() as connection:
            rows = (await connection.execute(SLOTS, values)).mappings().all()
    return [_task(task, [dict(row) for row in rows if row["task"] == task.name]) for task in tasks]


def _task(task: Task, rows: list[dict[str, Any]]) -> TaskFigures:
    first = rows[0] if rows else {}
    return TaskFigures(
        name=task.name,
        kind=task.job.kind,
        every_s=task.interval(utc_now()).total_seconds(),
        next_at=task.following(utc_now()),
        paused_by=first.get("paused_by"),
        paused_at=first.get("paused_at"),
        slots=[SlotFigures.model_validate(row) for row in rows if row["slot"] is not None],
    )


def _live(
    stoker: Stoker, lane: Lane, state: LiveState, job_id: bytes, score: float, payload: bytes | None
) -> LiveJob:
    kind, scope, enqueued_ms = "<unknown>", None, 0
    for stored in _stored(payload):
        kind, enqueued_ms = stored.kind, stored.enqueued_ms
        try:
            scope = stoker.domain.subject_of(parse(stored.kind, stored.payload))
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
    )


def _arguments(payload: bytes | None) -> Any:  # noqa: ANN401 - whatever was enqueued
    return _writable(next((stored.payload for stored in _stored(payload)), None))


def _stored(payload: bytes | None) -> Iterator[wire.Stored]:
    if payload is None:
        return
    try:
        yield wire.decode(payload)
    except InvalidJob:
        return


def _writable(value: Any) -> Any:  # noqa: ANN401 - whatever was enqueued
    """The same as far as UTF-8 can hold it: a producer's JSON can spell lone surrogates."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _moment(ms: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC) if ms > 0 else None
    except (OverflowError, ValueError, OSError):
        return None
