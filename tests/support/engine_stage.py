"""A stage for the engine: jobs of its own, handlers that do what a test says, and the state of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import Unavailable
from stoker.jobs import JOBS, LANES, Job, Lane, RetryPolicy
from stoker.queue.enqueue import Queue
from stoker.settings import LaneSettings, QueueSettings
from stoker.worker.engine.depth import LaneDepth, depth
from stoker.worker.engine.runner import Engine, EngineSettings

DEADLINE_S = 60
DUE_S = 0.5
"""Nobody tells that the time has come at which a job is due."""


class Work(Job):
    """A job that does what the stage has for its name, with more time than any test takes."""

    kind = "test.work.v1"
    lane = Lane.WARM
    timeout = timedelta(minutes=5)
    retry = RetryPolicy(
        attempts=3,
        first=timedelta(milliseconds=10),
        longest=timedelta(milliseconds=20),
        errors=(Unavailable, TimeoutError),
    )
    name: str = "work"


class Hasty(Work):
    """Work with next to no time."""

    kind = "test.hasty.v1"
    timeout = timedelta(milliseconds=50)
    retry = RetryPolicy(attempts=1)


class Long(Work):
    """Work that may take very long."""

    kind = "test.long.v1"
    timeout = timedelta(hours=6)


class Followed(Hasty):
    """Work with next to no time, whose progress somebody follows."""

    kind = "test.followed.v1"
    followed = True


class FollowedLong(Long):
    """Work that may take very long, whose progress somebody follows."""

    kind = "test.followed_long.v1"
    followed = True


class Elsewhere(Work):
    """Work of another lane."""

    kind = "test.elsewhere.v1"
    lane = Lane.REFRESH


class Keyed(Work):
    """Work that coalesces by name and runs once at a time."""

    kind = "test.keyed.v1"
    lane = Lane.REFRESH
    one_at_a_time = True

    def coalesce_key(self) -> str:
        """By name."""
        return f"{self.kind}|{self.name}"


class Turned(Work):
    """Work of a tenant, which takes turns with that of others."""

    kind = "test.turned.v1"
    tenant: str = "a"

    def fair_key(self) -> str:
        """By tenant."""
        return self.tenant


class Paced(Work):
    """Work of which one begins in a hundred seconds."""

    kind = "test.paced.v1"
    rate_per_s = 0.01


class KeyedTurned(Turned):
    """The same, of which one runs at a time."""

    kind = "test.keyed_turned.v1"
    one_at_a_time = True

    def coalesce_key(self) -> str:
        """By name."""
        return self.name


TEST_JOBS: dict[str, type[Job]] = {
    job.kind: job
    for job in (Work, Hasty, Long, Followed, FollowedLong, Elsewhere, Keyed, Turned, KeyedTurned, Paced)
}

Act = Callable[[int], Awaitable[str]]
"""What a job does, told the number of its run."""


@dataclass
class Stage:
    """Tasks, and what the engine told about them."""

    acts: dict[str, Act] = field(default_factory=dict)
    runs: list[tuple[str, int]] = field(default_factory=list)
    """Name and number of every run, in the order of their starts."""
    waits_s: list[float] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    """Kind and outcome of every end."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, job_id: str, job: Job, attempt: int) -> str:
        """The engine's `run`."""
        name = getattr(job, "name", job.kind)
        self.runs.append((name, attempt))
        self._changed.set()
        act = self.acts.get(name)
        return "done" if act is None else await act(attempt)

    def job_started(self, lane: str, kind: str, waited_s: float) -> None:
        """Noted."""
        self.waits_s.append(waited_s)

    def job_ended(self, lane: str, kind: str, outcome: str, ran_s: float) -> None:
        """Noted."""
        self.ended.append((kind, outcome))
        self._changed.set()

    async def until(self, true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Wait until something that starts or ends makes it true."""
        async with asyncio.timeout(deadline_s):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    def hold(self, name: str) -> asyncio.Event:
        """Jobs of this name wait for the event before they end."""
        release = asyncio.Event()

        async def act(_: int) -> str:
            await release.wait()
            return "done"

        self.acts[name] = act
        return release


async def eventually(holds: Callable[[], Coroutine[Any, Any, bool]], deadline_s: float = DEADLINE_S) -> None:
    """Ask again and again, where nobody tells when it is so: rows of another process, a clock."""
    async with asyncio.timeout(deadline_s):
        while not await holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


async def settled(queue: Queue, lane: str, **wanted: int) -> LaneDepth:
    """Wait until the lane's depth shows what is wanted.

    A total is wanted by its name, or by `total_` and its name where the depth has the same name for jobs that
    are there now.
    """
    async with asyncio.timeout(DEADLINE_S), changes(queue) as next_change:
        while True:
            found = (await depth(queue))[lane]
            totals = {f"total_{name}": count for name, count in found.totals.items()}
            shown: dict[str, int] = {**found.totals, **totals, **vars(found)}
            if all(shown[name] == value for name, value in wanted.items()):
                return found
            await next_change()


@asynccontextmanager
async def changes(queue: Queue) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """What waits until somebody has changed something of the queue in Redis, or until jobs may be due."""
    await queue.redis.config_set("notify-keyspace-events", "KA")
    async with queue.redis.pubsub(ignore_subscribe_messages=True) as told:
        await told.psubscribe(f"__keyspace@*__:{queue.settings.prefix}:*")

        async def next_change() -> None:
            await told.get_message(timeout=DUE_S)

        yield next_change


@dataclass
class Running:
    """An engine that runs."""

    engine: Engine
    stop: asyncio.Event
    now: asyncio.Event
    task: asyncio.Task[None]

    async def stopped(self) -> None:
        """Stop it, and wait for its end."""
        self.stop.set()
        await self.task


@asynccontextmanager
async def running(  # noqa: PLR0913 - a test's choices
    queue: Queue,
    url: str,
    stage: Stage,
    sql: AsyncEngine,
    *,
    concurrency: int = 4,
    stop_deadline_s: float = 0.2,
    claim_life_s: float = 6,
    rate_per_s: float = 0,
    fair_cap: int = 0,
    job_types: Mapping[str, type[Job]] = JOBS,
) -> AsyncIterator[Running]:
    """An engine with three lanes, stopped at the end."""
    engine = Engine(
        url,
        queue.settings,
        EngineSettings(
            {
                lane: LaneSettings(concurrency=concurrency, rate_per_s=rate_per_s, fair_cap=fair_cap)
                for lane in LANES
            },
            stop_deadline_s,
            claim_life_s,
        ),
        run=stage.run,
        sql=sql,
        observer=stage,
        job_types=job_types,
    )
    stop, now = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(engine.run(stop, now))
    try:
        yield Running(engine, stop, now, task)
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task


def settings_of(prefix: str) -> QueueSettings:
    """Queue settings with a prefix of the test's own."""
    return QueueSettings(prefix=prefix, timeout_s=2)
