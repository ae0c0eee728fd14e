"""The schedule: enqueues jobs at their slots, once over any number of workers.

The ledger says which worker has a slot, and what time it is: hosts' clocks may differ, so Postgres' clock
counts. Running a slot means enqueueing its job, which a lane then runs. While Postgres is away nothing can be
claimed, and the loop tries again. While the queue is away the slot is given back and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from stoker.errors import DatabaseUnavailable, Unavailable
from stoker.jobs import Job
from stoker.queue.answers import Enqueued
from stoker.schedule import DAY, Every
from stoker.settings import LatePolicy, OverlapPolicy, ScheduleSettings
from stoker.worker.schedule.ledger import Ledger
from stoker.worker.schedule.tasks import Task

log = logging.getLogger(__name__)

MOST_LATE = 100
"""Late slots of a task that are run at most under `all`."""

Enqueue = Callable[[Job], Awaitable[object]]
IsOpen = Callable[[str], Awaitable[bool]]
"""Whether a job waits or runs."""
Clock = Callable[[], Awaitable[datetime]]
"""The time by which slots are due; raises DatabaseUnavailable."""


class Schedule:
    """Runs tasks at their slots until it is stopped."""

    def __init__(
        self,
        tasks: Sequence[Task],
        ledger: Ledger,
        enqueue: Enqueue,
        is_open: IsOpen,
        settings: ScheduleSettings,
        clock: Clock | None = None,
    ) -> None:
        self._tasks = tasks
        self._ledger = ledger
        self._enqueue = enqueue
        self._is_open = is_open
        self._lease = timedelta(seconds=settings.lease_s)
        self._retry = timedelta(seconds=settings.retry_s)
        self._grace = timedelta(seconds=settings.grace_s)
        self._clock = clock or ledger.now
        self._settled: dict[str, datetime] = {}
        """The newest slot of each task that is known to be finished."""

    async def run(self, stop: asyncio.Event) -> None:
        """Wait for slots and run them; outages of Postgres and of the queue only delay it."""
        while not stop.is_set():
            asked = asyncio.get_running_loop().time()
            try:
                now = await self._clock()
                wait = await self._run_due(now) - now
            except DatabaseUnavailable as error:
                log.warning("schedule.database_unavailable", extra={"error": str(error)})
                wait = self._retry
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(asked + wait.total_seconds()):
                    await stop.wait()

    async def tick(self) -> datetime:
        """Run every slot that is due and free; returns when to call this again."""
        return await self._run_due(await self._clock())

    async def _run_due(self, now: datetime) -> datetime:
        return min([await self._run_due_of(task, now) for task in self._tasks], default=now + DAY)

    async def _run_due_of(self, task: Task, now: datetime) -> datetime:
        newest = task.newest(now)
        if self._settled.get(task.name) == newest:
            return task.following(now)
        again = [await self._try_slot(task, slot, now) for slot in await self._due(task, newest, now)]
        waits = [at for at in again if at is not None]
        if not waits:
            self._settled[task.name] = newest
        return min([task.following(now), *waits])

    async def _due(self, task: Task, newest: datetime, now: datetime) -> Sequence[datetime]:
        is_late = now - newest > self._grace
        if not isinstance(task, Every) and is_late and not await self._ledger.has_begun(task.name):
            # A new entry: a deployment at noon must not send the mails of six o'clock.
            await self._ledger.skip(task.name, newest)
        if task.late is LatePolicy.ALL:
            return await self._ledger.owed(task.name, task.last(now, MOST_LATE))
        if task.late is LatePolicy.SKIP and is_late:
            # Does not touch a slot that was claimed in time and not finished.
            await self._ledger.skip(task.name, newest)
        return [newest]

    async def _try_slot(self, task: Task, slot: datetime, now: datetime) -> datetime | None:
        """Run the slot if it is free; returns when to try again, or None if nothing is left to do for it."""
        every_one = task.late is LatePolicy.ALL
        if await self._ledger.claim(task.name, slot, self._lease, begin_older=every_one):
            return await self._run(task, slot, now)
        if every_one:
            # Unclaimed and not to be claimed: its task is paused. Its slots pass and are not made up for.
            await self._ledger.skip(task.name, slot)
        state = await self._ledger.state(task.name, slot)
        if state.settled:
            return None
        return now + (state.lease_left if state.lease_left > timedelta(0) else self._retry)

    async def _run(self, task: Task, slot: datetime, now: datetime) -> datetime | None:
        fields = {"task": task.name, "slot": slot.isoformat(), "late_s": (now - slot).total_seconds()}
        try:
            if task.overlap is OverlapPolicy.SKIP and await self._overlaps(task):
                await self._ledger.overlapped(task.name, slot)
                log.warning("schedule.overlapped", extra=fields)
                return None
            asked = await self._enqueue(task.job_at(slot))
        except DatabaseUnavailable:
            raise
        except Unavailable as error:
            log.warning("schedule.not_enqueued", extra={**fields, "error": str(error)})
            await self._ledger.failed(task.name, slot, str(error), self._retry)
            return now + self._retry
        # A worker killed here leaves the slot to run again after its lease: at least once.
        await self._ledger.done(task.name, slot, asked.job_id if isinstance(asked, Enqueued) else None)
        log.info("schedule.enqueued", extra=fields)
        return None

    async def _overlaps(self, task: Task) -> bool:
        last = await self._ledger.last_job(task.name)
        return last is not None and await self._is_open(last)
