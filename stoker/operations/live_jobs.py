"""Jobs in the queue: those that wait, run or are parked, read from the queue Redis.

A search ends after a bounded time, however many jobs there are, and says how many it has searched. Raises
QueueUnavailable.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from stoker.errors import InvalidJob
from stoker.jobs import Refresh, parse
from stoker.queue import wire
from stoker.queue.stored import stored
from stoker.redis.queue import answering
from stoker.stoker import Stoker
from stoker.worker.engine.claims import FAR_MS

SEARCH_S = 0.08
"""Seconds after which a search ends and says how far it came; the next call goes on."""
AT_ONCE = 2_000
"""Jobs that a search reads at once."""


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
    view: str | None = None
    """Of a refresh."""


@dataclass(frozen=True)
class Search:
    """Which jobs of the queue to find. `skip`: how many of them were searched before this call."""

    lanes: Sequence[str]
    states: Sequence[LiveState]
    limit: int
    skip: int = 0
    kind: str | None = None
    scope: str | None = None

    def fits(self, job: LiveJob) -> bool:
        """Whether a job matches."""
        return (not self.kind or job.kind == self.kind) and (not self.scope or job.scope == self.scope)

    def clues(self) -> list[bytes]:
        """What the payload of a job that matches contains: parsing all of them would take too long."""
        wanted = [self.kind, self.scope and self.scope.partition(":")[2]]
        # Only names that JSON writes as they are: others may be written with escapes.
        return [name.encode() for name in wanted if name and re.fullmatch(r"[\w.-]+", name, re.ASCII)]


@dataclass(frozen=True)
class Found:
    """The jobs found among the first `searched` of the `of` jobs that there are in these lanes and states."""

    jobs: list[LiveJob]
    searched: int
    of: int


@dataclass(frozen=True)
class _Place:
    """Where jobs of one lane and state lie: a sorted set, or a range of its scores."""

    lane: str
    state: LiveState
    key: str
    least: str = "-inf"
    most: str = "+inf"


async def live_jobs(stoker: Stoker, search: Search) -> Found:
    """Jobs in the queue that match, as many as are asked for; stops after SEARCH_S, and says how far it came.

    Jobs begin and end meanwhile, so that a page may overlap the one before it by a few.
    """
    now_ms = int(time.time() * 1000)
    places = [place for lane in search.lanes for place in _places(stoker, lane, search.states, now_ms)]
    give_up = time.monotonic() + SEARCH_S
    chunk = AT_ONCE if search.kind or search.scope else search.limit
    # An arq application may pack its payloads in any way.
    clues = search.clues() if stoker.domain.arq_application is None else []
    jobs: list[LiveJob] = []
    async with answering(stoker.queue.settings.timeout_s):
        sizes = await _sizes(stoker, places)
        at = min(search.skip, sum(sizes))
        while (
            at < sum(sizes) and len(jobs) < search.limit and (at == search.skip or time.monotonic() < give_up)
        ):
            pairs = await _members(stoker, places, sizes, at, chunk)
            if not pairs:
                at = sum(sizes)
                break
            ids = [b"arq:job:" + job_id for _, job_id, _ in pairs]
            payloads = await stoker.queue.redis.mget(ids)
            for (place, job_id, score), payload in zip(pairs, payloads, strict=True):
                at += 1
                if payload is None or all(clue in payload for clue in clues):
                    job = _live(stoker, place.lane, place.state, job_id, _due_ms(score, now_ms), payload)
                    jobs += [job] if search.fits(job) else []
                if len(jobs) == search.limit:
                    break
            if time.monotonic() > give_up:
                break
    return Found(jobs, at, sum(sizes))


async def _sizes(stoker: Stoker, places: Sequence[_Place]) -> list[int]:
    async with stoker.queue.redis.pipeline(transaction=False) as pipe:
        for place in places:
            pipe.zcount(place.key, place.least, place.most)
        return list(await pipe.execute())


async def _members(
    stoker: Stoker, places: Sequence[_Place], sizes: Sequence[int], skip: int, most: int
) -> list[tuple[_Place, bytes, float]]:
    """The next jobs of all places, in their order, with their scores."""
    asked = []
    async with stoker.queue.redis.pipeline(transaction=False) as pipe:
        for place, size in zip(places, sizes, strict=True):
            if skip < size and most:
                number = min(most, size - skip)
                pipe.zrangebyscore(place.key, place.least, place.most, skip, number, withscores=True)
                asked.append(place)
                most -= number
            skip = max(0, skip - size)
        found = await pipe.execute()
    return [
        (place, job_id, score) for place, pairs in zip(asked, found, strict=True) for job_id, score in pairs
    ]


def _places(stoker: Stoker, lane: str, states: Sequence[LiveState], now_ms: int) -> Iterator[_Place]:
    name = wire.queue_name(stoker.queue.settings, lane)
    for state in states:
        if state is LiveState.READY:
            yield _Place(lane, state, name, most=str(now_ms))
            # Those that wait behind the first one of their fair key.
            yield _Place(lane, state, name, least=str(now_ms + FAR_MS * 3 // 2))
        elif state is LiveState.DEFERRED:
            # Running and parked jobs lie in the lane's own set too, far in the future.
            yield _Place(lane, state, name, f"({now_ms}", str(now_ms + FAR_MS // 2))
        else:
            yield _Place(lane, state, f"{name}:{state}")


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


def _due_ms(score: float, now_ms: float) -> float:
    return score - 2 * FAR_MS if score > now_ms + FAR_MS * 3 // 2 else score


def _live(
    stoker: Stoker, lane: str, state: LiveState, job_id: bytes, score: float, payload: bytes | None
) -> LiveJob:
    kind, scope, enqueued_ms, fair_key, view = "<unknown>", None, 0, None, None
    job = _stored(stoker, lane, payload)
    if job is not None:
        kind, enqueued_ms, fair_key = job.kind, job.enqueued_ms, wire.fair_key_of(job.fair)
        try:
            parsed = parse(job.kind, job.payload, stoker.domain.job_types)
            scope = stoker.domain.subject_of(parsed)
            view = parsed.view if isinstance(parsed, Refresh) else None
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
        view=_writable(view),
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
