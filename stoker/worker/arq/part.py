"""The arq application of one worker process: its `ctx`, hooks, health key, cron jobs and burst mode.

Without it, arq's clients and functions find nothing changed. Its Redis is the queue Redis of Stoker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from arq.connections import ArqRedis, RedisSettings
from arq.utils import to_ms, to_seconds

from stoker.arq.application import ArqApplication
from stoker.errors import SettingsError, Unavailable
from stoker.handlers.context import JobContext
from stoker.jobs import LANES, Job
from stoker.jobs.arq_call import ArqCall
from stoker.queue import wire
from stoker.queue.answers import Answer, Enqueued
from stoker.redis.pool import close_client, queue_client
from stoker.redis.queue import answering
from stoker.schedule import EPOCH
from stoker.settings import QueueSettings, Settings, require
from stoker.settings.topology import Sentinels, is_sentinel
from stoker.settings.urls import address_of
from stoker.worker.arq.judge import ArqJudge
from stoker.worker.arq.state import State
from stoker.worker.engine.parts import Guest
from stoker.worker.schedule.ledger import Ledger, Slot

logger = logging.getLogger("arq.worker")
log = logging.getLogger(__name__)

SOONEST_S = 0.05
"""The shortest `poll_delay`, and the time between two checks whether a burst is over."""
CONNECTIONS = 20
STARTUP = timedelta(minutes=1)
"""Workers that start within the same minute run `run_at_startup` once."""


class ArqPart:
    """One for each process. `lanes`: the domain's others; `burst`: stop when the queue is empty."""

    def __init__(
        self,
        application: ArqApplication,
        settings: Settings,
        lanes: Sequence[str] = LANES,
        *,
        burst: bool = False,
    ) -> None:
        self.application = application
        self.burst = burst
        self.state = State(application.options["ctx"] or {}, burst=burst)
        self._queue: QueueSettings = settings.queue
        self._url = require(settings.redis_url, "REDIS_URL")
        check_same_redis(application.options["redis_settings"], self._url)
        if application.queue_name in wire.queue_names(settings.queue, lanes):
            raise SettingsError(
                f"arq's queue_name {application.queue_name!r} is the name of a lane: set another queue.prefix"
            )
        self._redis = self._client()
        self._started_at: datetime | None = None

    def guest(self) -> Guest:
        """The lane of arq's queue, for the engine."""
        most = self.application.options["max_burst_jobs"]
        return Guest(
            judge=partial(ArqJudge, self.application, self.state),
            poll_s=self._poll_s,
            most=most if self.burst and most >= 0 else None,
        )

    async def handle(self, context: JobContext, job: ArqCall) -> None:
        """The handler of every function; the judge has prepared the call."""
        del job
        await self.state.calls[context.job_id]()

    async def enqueue(self, job: Job, otherwise: Callable[[Job], Any]) -> object:
        """What the schedule does at a slot: calls are enqueued by arq's client, under arq's ids."""
        if not isinstance(job, ArqCall):
            return await otherwise(job)
        async with answering(self._queue.timeout_s):
            asked = await self._redis.enqueue_job(job.kind, *job.args, _job_id=job.job_id, **job.kwargs)
            bell: Any = self._redis
            if asked is not None and not await bell.exists(f"{self.application.queue_name}:bell"):
                await bell.lpush(f"{self.application.queue_name}:bell", "1")
        job_id = job.job_id if asked is None else asked.job_id
        return Enqueued(str(job_id), Answer.ENQUEUED if asked else Answer.COALESCED)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """With arq's `ctx` made by `on_startup`; `on_shutdown` follows."""
        self.state.ctx["redis"] = self._redis
        shown = ", ".join(self.application.functions)
        logger.info("Starting worker for %d functions: %s", len(self.application.functions), shown)
        try:
            if self.application.options["on_startup"]:
                await self.application.options["on_startup"](self.state.ctx)
            yield
        finally:
            await self._shut_down()

    async def run_at_startup(self, ledger: Ledger) -> None:
        """Enqueue the cron jobs that run when a worker starts; raises Unavailable, and may be repeated."""
        now = await ledger.now()
        self._started_at = self._started_at or now - (now - EPOCH) % STARTUP
        entries = [one for one in self.application.schedule if one.cron.run_at_startup]
        slots = {Slot(f"{one.name[:24]}_startup", self._started_at): one for one in entries}
        away: Unavailable | None = None
        for slot in await ledger.claim(list(slots), STARTUP) if slots else ():
            try:
                await self.enqueue(slots[slot].job_at(slot.at), _no_other)
                await ledger.done({slot: None})
            except Unavailable as error:
                away = error
                await ledger.failed(slot, str(error), timedelta(0))
        if away is not None:
            raise away

    async def keep_healthy(self) -> None:
        """Write arq's health key until cancelled; raises QueueUnavailable."""
        while True:
            await self._tell_health()
            await asyncio.sleep(max(self._health_every_s, SOONEST_S))

    async def until_empty(self) -> None:
        """Return when the burst is over: no job waits or runs, or `max_burst_jobs` have ended."""
        name, most = self.application.queue_name, self.application.options["max_burst_jobs"]
        while self.state.running or not 0 <= most <= self.state.begun:
            with contextlib.suppress(Unavailable):
                async with answering(self._queue.timeout_s), self._redis.pipeline(transaction=True) as pipe:
                    pipe.zcard(name)
                    pipe.zcard(f"{name}:parked")
                    queued, parked = await pipe.execute()
                if queued <= parked:
                    return
            await asyncio.sleep(SOONEST_S)

    @property
    def _health_every_s(self) -> float:
        return to_seconds(self.application.options["health_check_interval"]) or 0

    @property
    def _poll_s(self) -> float:
        return max(to_seconds(self.application.options["poll_delay"]) or 0, SOONEST_S)

    def _client(self) -> ArqRedis:
        pool = queue_client(self._url, connections=CONNECTIONS, wait_s=self._queue.timeout_s).connection_pool
        return ArqRedis(
            pool,
            job_serializer=self.application.serialize,
            job_deserializer=self.application.deserialize,
            default_queue_name=self.application.queue_name,
            expires_extra_ms=self.application.options["expires_extra_ms"],
        )

    async def _tell_health(self) -> None:
        told = await self._health()
        async with answering(self._queue.timeout_s):
            life_ms = to_ms(self._health_every_s + 1) or 1000
            await self._redis.set(self.application.health_check_key, told, px=life_ms)
        self.state.told = told

    async def _health(self) -> str:
        """What the health key says; logged where it has changed."""
        state = self.state
        async with answering(self._queue.timeout_s):
            queued = await self._redis.zcard(self.application.queue_name)
        counts = (
            f"j_complete={state.complete} j_failed={state.failed} j_retried={state.retried} "
            f"j_ongoing={state.running} queued={queued}"
        )
        told = f"{time.strftime('%b-%d %H:%M:%S')} {counts}"
        if self.state.told and not self.state.told.endswith(counts):
            logger.info("recording health: %s", told)
        return told

    async def close(self) -> None:
        """Close the connections."""
        await close_client(self._redis)

    async def _shut_down(self) -> None:
        options = self.application.options
        try:
            if options["on_shutdown"]:
                await options["on_shutdown"](self.state.ctx)
        except Exception:
            log.exception("arq.on_shutdown_failed")
        with contextlib.suppress(Unavailable):
            async with answering(self._queue.timeout_s):
                found = await self._redis.get(self.application.health_check_key)
                if (
                    found is not None and found.decode() == self.state.told
                ):  # no other worker has written since
                    await self._redis.delete(self.application.health_check_key)


async def _no_other(job: Job) -> None:
    raise AssertionError(f"{job.kind} is no call of arq")


def check_same_redis(theirs: RedisSettings | None, url: str) -> None:
    """Raise SettingsError where WorkerSettings name another Redis than REDIS_URL: no job would be found."""
    if theirs is None:
        return
    if theirs.sentinel or is_sentinel(url):
        differ = not theirs.sentinel or not is_sentinel(url) or not _same_sentinels(theirs, url)
    else:
        differ = _place(theirs) != _place(RedisSettings.from_dsn(url))
    if differ:
        raise SettingsError(
            "REDIS_URL and the `redis_settings` of arq's WorkerSettings name different servers: set REDIS_URL"
            " to the server of `redis_settings`"
        )


def _same_sentinels(theirs: RedisSettings, url: str) -> bool:
    """Whether they ask one Sentinel in common for the same master."""
    ours = Sentinels.of(url)
    named = theirs.host if isinstance(theirs.host, list) else []
    hosts = {f"{host}:{port}" for host, port in named}
    return theirs.sentinel_master == ours.name and bool(hosts & {address_of(one) for one in ours.urls})


def _place(settings: RedisSettings) -> tuple[object, ...]:
    where = settings.unix_socket_path or (settings.host, settings.port)
    return where, settings.database
