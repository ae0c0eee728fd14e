"""The schedule: enqueues contracts at their slots, once over any number of workers.

Slots are computed in UTC from the epoch, so every worker knows the same ones without asking. The ledger says
whose a slot is; running it means enqueueing its job, which its lane then carries out. Postgres away: nothing
can be claimed, so the loop tries again until it can. Queue away: the slot is given back and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.contracts import Contract, KeepWarm, Prune, Verify, Warm
from jobs.enqueue import Enqueued
from jobs.errors import DatabaseUnavailable, Unavailable
from worker.ledger import Ledger
from worker.settings import LatePolicy, ScheduleSettings

log = logging.getLogger(__name__)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

Enqueue = Callable[[Contract], Awaitable[object]]
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Task:
    """A contract that is enqueued every so often; slots lie at `offset` past multiples of `every`."""

    name: str
    contract: Contract
    every: timedelta
    offset: timedelta = timedelta(0)

    def newest(self, now: datetime) -> datetime:
        """The latest slot that is not in the future."""
        return EPOCH + self.offset + (now - EPOCH - self.offset) // self.every * self.every

    def following(self, now: datetime) -> datetime:
        """The earliest slot that is in the future."""
        return self.newest(now) + self.every


def tasks(settings: ScheduleSettings) -> list[Task]:
    """What the settings ask for; ENABLE_BACKGROUND_WARMING=false leaves verifying and pruning."""
    warming = [
        Task("warm_active", Warm(target="active"), timedelta(seconds=settings.warm_active_every_s)),
        Task("keep_warm", KeepWarm(), timedelta(seconds=settings.keep_warm_every_s)),
    ]
    upkeep = [
        Task(
            "verify",
            Verify(entries=settings.verify_entries),
            timedelta(seconds=settings.verify_every_s),
        ),
        Task("prune", Prune(), DAY, settings.prune_offset),
    ]
    return [*(warming if settings.enable_background_warming else []), *upkeep]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Schedule:
    """Runs tasks at their slots until it is stopped."""

    def __init__(
        self,
        tasks: Sequence[Task],
        ledger: Ledger,
        enqueue: Enqueue,
        settings: ScheduleSettings,
        clock: Clock = utc_now,
    ) -> None:
        self._tasks = tasks
        self._ledger = ledger
        self._enqueue = enqueue
        self._lease = timedelta(seconds=settings.lease_s)
        self._retry = timedelta(seconds=settings.retry_s)
        self._grace = timedelta(seconds=settings.grace_s) if settings.late is LatePolicy.SKIP else None
        self._clock = clock
        self._settled: dict[str, datetime] = {}
        """The newest slot of each task that needs no more asking."""

    async def run(self, stop: asyncio.Event) -> None:
        """Wait for slots and run them; outages of Postgres and of the queue only delay it."""
        while not stop.is_set():
            try:
                due = await self.tick()
            except DatabaseUnavailable as error:
                log.warning("schedule.database_unavailable", extra={"error": str(error)})
                due = self._clock() + self._retry
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, (due - self._clock()).total_seconds())):
                    await stop.wait()

    async def tick(self) -> datetime:
        """Run every slot that is due and free; returns when to look again."""
        return min([await self._look_at(task) for task in self._tasks], default=self._clock() + DAY)

    async def _look_at(self, task: Task) -> datetime:
        now = self._clock()
        slot = task.newest(now)
        if self._settled.get(task.name) == slot:
            return task.following(now)
        if self._grace is not None and now - slot > self._grace:
            # Leaves alone what somebody claimed in time and did not finish.
            await self._ledger.skip(task.name, slot)
        if await self._ledger.claim(task.name, slot, self._lease):
            return await self._run(task, slot)
        state = await self._ledger.state(task.name, slot)
        if state.settled:
            self._settled[task.name] = slot
            return task.following(now)
        return min(task.following(now), self._clock() + max(state.lease_left, timedelta(milliseconds=10)))

    async def _run(self, task: Task, slot: datetime) -> datetime:
        now = self._clock()
        fields = {"task": task.name, "slot": slot.isoformat(), "late_s": (now - slot).total_seconds()}
        try:
            asked = await self._enqueue(task.contract)
        except Unavailable as error:
            log.warning("schedule.not_enqueued", extra={**fields, "error": str(error)})
            await self._ledger.failed(task.name, slot, str(error), self._retry)
            return min(task.following(now), now + self._retry)
        # Killed here, the slot runs again after its lease: at least once, never not at all.
        await self._ledger.done(task.name, slot, asked.job_id if isinstance(asked, Enqueued) else None)
        self._settled[task.name] = slot
        log.info("schedule.enqueued", extra=fields)
        return task.following(now)
