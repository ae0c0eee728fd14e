"""The engine of one worker process: its lanes, and what wakes, renews and supervises them.

Survives any outage of the queue Redis and of Postgres. Stops in order: no new claims, running jobs finish
within the deadline, the rest goes back to the queue without using a try.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import JOBS, Job
from stoker.outbox.ends import JobEnds
from stoker.redis.pool import close_client, queue_client
from stoker.redis.queue import QueueConnection
from stoker.settings import LaneSettings, QueueSettings
from stoker.worker.engine.claims import Claims
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.doorbell import Doorbell
from stoker.worker.engine.finisher import Finisher
from stoker.worker.engine.lane import LaneWorker
from stoker.worker.engine.meter import Load
from stoker.worker.engine.observer import Observer, Silent
from stoker.worker.engine.parts import Guest, Parts, Run
from stoker.worker.engine.renewal import Renewal
from stoker.worker.engine.running import CANCEL_GRACE_S
from stoker.worker.engine.supervisor import supervise
from stoker.worker.engine.upkeep import Upkeep

logger = logging.getLogger(__name__)

CONNECTIONS = 8
"""Of the client for everything else: the doorbell has a connection of its own, and the scripts share one."""
FAREWELL_S = 2
"""Seconds past the deadline for the last ends to reach Redis."""


@dataclass(frozen=True)
class EngineSettings:
    """What one process runs, and how it stops."""

    lanes: Mapping[str, LaneSettings]
    stop_deadline_s: float = 25
    """Seconds that running jobs get to finish."""
    claim_life_s: float = 6
    """Seconds until the claims of a killed worker expire; renewed three times as often."""


class Engine:
    """All lanes of one process. Make one, run it once."""

    def __init__(  # noqa: PLR0913 - what the worker process plugs in
        self,
        queue_url: str,
        queue_settings: QueueSettings,
        settings: EngineSettings,
        *,
        run: Run,
        sql: AsyncEngine,
        observer: Observer | None = None,
        job_types: Mapping[str, type[Job]] = JOBS,
        guests: Mapping[str, Guest] | None = None,
    ) -> None:
        self._settings = settings
        self._queue_url = queue_url
        self._redis = queue_client(queue_url, connections=CONNECTIONS, wait_s=queue_settings.timeout_s)
        self._line = QueueConnection(queue_url, queue_settings)
        self._claims = Claims(self._line, queue_settings, tuple(settings.lanes), settings.claim_life_s)
        self._parts = Parts(
            redis=self._redis,
            claims=self._claims,
            finisher=Finisher(self._claims),
            letters=DeadLetters(sql),
            ends=JobEnds(sql),
            run=run,
            observer=observer or Silent(),
            job_types=job_types,
            guests=guests or {},
        )
        self._lane_settings = dict(settings.lanes)
        self._lanes: dict[str, LaneWorker] = {}
        self._upkeep: Upkeep | None = None
        self._renewal: Renewal | None = None
        self._stopping = False

    @property
    def owner(self) -> str:
        """The name under which this process claims jobs."""
        return self._claims.owner

    @property
    def silent_s(self) -> float | None:
        """Seconds since the queue Redis last answered; None before `run`."""
        return None if self._upkeep is None else self._upkeep.silent_s

    def stuck(self) -> list[str]:
        """Parts that have stopped although they could go on; empty before `run` and after it.

        Callable from any thread. No server is the cause: only a restart of the process helps.
        """
        if self._upkeep is None or self._stopping:
            return []
        lanes = [f"lane {lane}" for lane, worker in self._lanes.items() if worker.stuck()]
        return [*lanes, *(["upkeep"] if self._upkeep.watchdog.stuck() else [])]

    def set_concurrency(self, lane: str, concurrency: int) -> None:
        """Change this process's slots of a lane while it runs; `Queue.set_concurrency` overrides it."""
        self._lane_settings[lane] = self._lane_settings[lane].model_copy(update={"concurrency": concurrency})
        if lane in self._lanes:
            self._lanes[lane].concurrency = concurrency
            self._lanes[lane].set_slots(concurrency)

    def load(self) -> dict[str, Load]:
        """What each lane has done since the last call; before `run` nothing, with the slots to come."""
        begun = {lane: worker.meter.take(worker.max_jobs) for lane, worker in self._lanes.items()}
        return begun or {lane: Load(one.concurrency, 0, 0, 0) for lane, one in self._lane_settings.items()}

    def set_quiet(self, quiet: bool) -> None:  # noqa: FBT001 - its one argument
        """Whether this process takes no new jobs."""
        for worker in self._lanes.values():
            worker.set_quiet(quiet)

    async def run(self, stop: asyncio.Event, now: asyncio.Event | None = None) -> None:
        """Run until `stop` is set; `now` cuts the deadline short."""
        bells = Doorbell(self._queue_url, self._redis, self._claims.settings, self._claims.owner)
        for lane, lane_settings in self._lane_settings.items():
            self._lanes[lane] = LaneWorker(lane, lane_settings, self._parts, bells.slots_freed)
        bells.listen_to(self._lanes)
        self._upkeep = upkeep = Upkeep(self._claims, self._lanes)
        renewal = Renewal(self._queue_url, self._claims, upkeep.held, lambda: upkeep.turned_at)
        self._renewal = renewal
        claiming = [_supervised(f"lane.{lane}", worker.main) for lane, worker in self._lanes.items()]
        listening = _supervised("doorbell", bells.run)
        keeping = [
            _supervised("upkeep", self._upkeep.run),
            _supervised("finisher", self._parts.finisher.run),
            *(
                _supervised(f"poll.{lane}", partial(_poll, self._lanes[lane], guest.poll_s))
                for lane, guest in self._parts.guests.items()
                if lane in self._lanes
            ),
        ]
        renewal.start()
        try:
            await stop.wait()
            self._stopping = True
            listening.cancel()
            await bells.close()
            await self._stop_lanes(claiming, now or asyncio.Event())
        finally:
            await bells.close()
            await renewal.stop()
            await self._close([*claiming, listening, *keeping])

    async def _stop_lanes(self, claiming: Sequence[asyncio.Task[None]], now: asyncio.Event) -> None:
        for lane in self._lanes.values():
            lane.stop_claiming()
        idle = asyncio.ensure_future(self._wait_idle(claiming))
        hurry = asyncio.ensure_future(now.wait())
        try:
            await asyncio.wait(
                {idle, hurry},
                timeout=self._settings.stop_deadline_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for lane in self._lanes.values():
                lane.halt_all()
            await asyncio.wait({idle}, timeout=CANCEL_GRACE_S + FAREWELL_S)
        finally:
            idle.cancel()
            hurry.cancel()

    async def _wait_idle(self, claiming: Sequence[asyncio.Task[None]]) -> None:
        # A claim that is under way may still bring jobs, so the claiming ends first.
        await asyncio.wait(claiming)
        for lane in self._lanes.values():
            await lane.wait_idle()

    async def _close(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        left = {str(lane): len(worker.held()) for lane, worker in self._lanes.items() if worker.held()}
        if left:
            logger.warning("engine.left_behind", extra={"jobs": left})
        pending = set(tasks)
        while pending:  # again, in case a driver has swallowed the first cancellation
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_GRACE_S)
        for lane in self._lanes.values():
            await lane.close()
        await self._line.close()
        await close_client(self._redis)


async def _poll(lane: LaneWorker, every_s: float) -> None:
    """Ask for work of a lane whose writers do not ring."""
    while True:
        await asyncio.sleep(every_s)
        if lane.has_slots():
            lane.wake()


def _supervised(name: str, make: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    return asyncio.create_task(supervise(name, make), name=name)
