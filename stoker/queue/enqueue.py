"""Enqueues jobs: one atomic script writes a job to arq's queue, coalesces it and rings.

Never uses arq's `_job_id` to coalesce: it drops work while the same id runs (RACES 10). When the queue Redis
does not answer, callers see QueueUnavailable; recorded events are applied all the same (the sweeper).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import repeat
from threading import Lock
from typing import Any, Self

import redis as sync_redis
from redis.asyncio import Redis

from stoker import tracing
from stoker.errors import QueueUnavailable
from stoker.jobs import LANES, Job, Relay
from stoker.queue import wire
from stoker.queue.answers import Answer, CancelAnswer, Enqueued
from stoker.queue.life import QueueLife
from stoker.queue.packing import Packed, Request, clock_ms, flat, in_calls, new_job_id, packed, packed_request
from stoker.queue.prelude import PRELUDE
from stoker.queue.ringing import Ringing
from stoker.redis.pool import close_client, queue_client
from stoker.redis.queue import QueueConnection, answering, call_blocking
from stoker.redis.script import Script
from stoker.redis.sentinel import blocking_client
from stoker.settings import QueueSettings

THREAD_TIMEOUT_S = 0.3
"""Seconds that a ring from a thread may take: a web request waits for it, after the commit."""
ENQUEUE = Script("stoker.queue", "enqueue", PRELUDE)
BEGIN = Script("stoker.queue", "begin")
CANCEL = Script("stoker.queue", "cancel", PRELUDE)
WISH_MS = 86_400_000
"""How long a request to cancel a running job is kept: longer than any job runs."""
TOKEN_MS = 60_000
"""Life of a token in the bell of one worker process."""


RELAY = Relay()
"""What a ring asks for."""


class Queue:
    """The queue Redis, for processes that enqueue jobs."""

    def __init__(self, url: str, settings: QueueSettings, redis: Redis, lanes: Sequence[str] = LANES) -> None:
        self.redis = redis
        self.connection = QueueConnection(url, settings)
        self._commands: Any = redis  # the driver types its replies as awaitable or not
        self.settings = settings
        self._concurrency = wire.concurrency_name(settings)
        self.lanes = tuple(map(str, lanes))
        self.life = QueueLife(self.connection, settings)
        self._url = url
        self._blocking: sync_redis.Redis | None = None
        self._blocking_lock = Lock()
        self._ringing = Ringing(self._pack_ring)

    @classmethod
    def from_url(cls, url: str, settings: QueueSettings, lanes: Sequence[str] = LANES) -> Self:
        """A queue with connections of its own, every call bounded by `settings.timeout_s`."""
        redis = queue_client(url, connections=settings.connections, wait_s=settings.timeout_s)
        return cls(url, settings, redis, lanes)

    async def enqueue(
        self, job: Job, *, delay: timedelta = timedelta(0), job_id: str | None = None
    ) -> Enqueued:
        """Write one job, or join the one of its coalesce key that waits.

        `job_id`: the id of a new job, as `new_job_id` makes it, for callers that note it before.
        """
        (call,) = in_calls(self._packed_jobs([job], delay, (), job_id))
        return (await self._enqueue(call))[0]

    async def enqueue_many(
        self,
        jobs: Sequence[Job],
        *,
        traces: Sequence[str | None] = (),
        delay: timedelta = timedelta(0),
    ) -> list[Enqueued]:
        """Write many jobs, in their order, in one round trip for each 500, or 4 MB of them.

        `traces`: the traceparent of each, where they do not all belong to the active span.
        """
        answers: list[Enqueued] = []
        for call in in_calls(self._packed_jobs(jobs, delay, traces)):
            answers += await self._enqueue(call)
        return answers

    async def deliver(self, requests: Sequence[Request]) -> None:
        """Write jobs that were requested in transactions; writing one again changes nothing for a day."""
        for call in self._delivery(requests):
            await self._enqueue(call)

    def packed_delivery(self, requests: Sequence[Request]) -> bytes | None:
        """The call of `deliver`, for QueueConnection.post; None where it takes more than one."""
        calls = list(self._delivery(requests))
        return self._pack_jobs(*calls) if len(calls) == 1 else None

    def deliver_from_thread(self, requests: Sequence[Request]) -> None:
        """As `deliver`, for synchronous sessions; see `ring_from_thread`."""
        for call in self._delivery(requests):
            self._enqueue_from_thread(call)

    async def ring(self) -> None:
        """Ask for a relay of recorded events, unless one waits already."""
        await self.enqueue(RELAY)

    def packed_ring(self) -> bytes:
        """The call of `ring`, for QueueConnection.post; made at the least cost for a request that commits."""
        now_ms, trace = clock_ms(), tracing.current()
        pack = self._ringing.packed if trace is None else partial(self._pack_ring, trace=trace)
        return pack(new_job_id(now_ms), now_ms)

    def ring_from_thread(self) -> None:
        """As `ring`, for synchronous sessions: blocks for at most 0.3 s per socket call; thread-safe."""
        now_ms = clock_ms()
        self._enqueue_from_thread(
            [packed(RELAY, new_job_id(now_ms), now_ms, 0, tracing.current(), self.settings)]
        )

    async def begin(self, job_id: str, job: Job) -> None:
        """Clear the job's waiting flag before its work, so that a change from now on brings one more job.

        For callers outside the engine: its claim script clears the flag of every job that a worker runs.
        """
        flag = wire.digest(job)
        if flag:
            await self.connection.call(BEGIN, flag, job_id)

    async def waits(self, lane: str) -> bool:
        """Whether a job of the lane is due and has not begun, by this process's clock."""
        async with answering(self.settings.timeout_s):
            name = wire.queue_name(self.settings, lane)
            return bool(await self.redis.zcount(name, "-inf", time.time() * 1000))

    async def is_open(self, job_id: str) -> bool:
        """Whether a job waits or runs; false for one that has ended or never existed."""
        async with answering(self.settings.timeout_s):
            return bool(await self.redis.exists(f"arq:job:{job_id}"))

    async def pause(self, lane: str) -> None:
        """No worker begins a job of the lane until it is resumed; running ones go on."""
        async with answering(self.settings.timeout_s):
            await self.redis.set(f"{wire.queue_name(self.settings, lane)}:paused", "1")

    async def is_paused(self, lane: str) -> bool:
        """Whether an operator has paused the lane."""
        async with answering(self.settings.timeout_s):
            return bool(await self.redis.exists(f"{wire.queue_name(self.settings, lane)}:paused"))

    async def resume(self, lane: str) -> None:
        """End a pause; workers notice at once, or within two seconds where the queue is full."""
        name = wire.queue_name(self.settings, lane)
        async with answering(self.settings.timeout_s):
            await self.redis.delete(f"{name}:paused")
        with suppress(QueueUnavailable):  # the pause is over: a bell that cannot be rung costs latency only
            async with answering(self.settings.timeout_s):
                await self._commands.lpush(f"{name}:bell", "1")

    async def cancel(self, job_id: str) -> CancelAnswer:
        """End a waiting or running job for good; requests that have joined it go with it."""
        asked = job_id.encode(errors="surrogateescape")
        found = await self.connection.call(
            CANCEL, asked, WISH_MS, TOKEN_MS, *wire.queue_names(self.settings, self.lanes)
        )
        return CancelAnswer(found.decode())

    async def set_concurrency(self, lane: str, slots: int) -> None:
        """Jobs of the lane that run at once in each worker process, instead of what its settings say.

        In effect within two seconds, until it is cleared. Above the new number, running jobs end first.
        """
        if slots < 1:
            raise ValueError(f"{slots} slots: pause a lane to stop it")
        async with answering(self.settings.timeout_s):
            await self._commands.hset(self._concurrency, wire.queue_name(self.settings, lane), slots)

    async def clear_concurrency(self, lane: str) -> None:
        """Use each worker's own settings again."""
        async with answering(self.settings.timeout_s):
            await self._commands.hdel(self._concurrency, wire.queue_name(self.settings, lane))

    async def close(self) -> None:
        """Close every connection."""
        await self.connection.close()
        await close_client(self.redis)
        if self._blocking is not None:
            self._blocking.close()

    async def _enqueue(self, jobs: Sequence[Packed]) -> list[Enqueued]:
        found = await self.connection.call(ENQUEUE, self.settings.expires_s * 1000, *flat(jobs))
        return [
            Enqueued(job_id.decode(errors="replace"), Answer(answer.decode()))
            for job_id, answer in zip(found[::2], found[1::2], strict=True)
        ]

    def _packed_jobs(
        self, jobs: Sequence[Job], delay: timedelta, traces: Sequence[str | None], job_id: str | None = None
    ) -> Iterator[Packed]:
        now_ms, delay_ms = clock_ms(), max(0, round(delay.total_seconds() * 1000))
        for job, trace in zip(jobs, traces or repeat(tracing.current()), strict=False):
            yield packed(job, job_id or new_job_id(now_ms), now_ms, delay_ms, trace, self.settings)

    def _delivery(self, requests: Iterable[Request]) -> Iterator[list[Packed]]:
        return in_calls(packed_request(one, self.settings) for one in requests)

    def _pack_ring(self, job_id: str, now_ms: int, trace: str | None = None) -> bytes:
        return self._pack_jobs([packed(RELAY, job_id, now_ms, 0, trace, self.settings)])

    def _pack_jobs(self, jobs: Iterable[Packed]) -> bytes:
        return self.connection.packed(ENQUEUE, self.settings.expires_s * 1000, *flat(jobs))

    def _enqueue_from_thread(self, jobs: Iterable[Packed]) -> None:
        life_ms = self.settings.expires_s * 1000
        call_blocking(self._blocking_client(), ENQUEUE, self.settings.prefix, life_ms, *flat(jobs))

    def _blocking_client(self) -> sync_redis.Redis:
        with self._blocking_lock:
            if self._blocking is None:
                self._blocking = blocking_client(self._url, THREAD_TIMEOUT_S)
            return self._blocking
