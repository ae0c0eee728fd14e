"""The schedule: enqueues jobs at their slots, once over any number of workers.

The ledger says which worker has a slot, and what time it is: hosts' clocks may differ, so Postgres' clock
counts. Running a slot means enqueueing its job, which a lane then runs. While Postgres is away nothing can be
claimed, and the loop tries again. While the queue is away the slot is given back and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from stoker.errors import DatabaseUnavailable, Unavailable
from stoker.jobs import Job
from stoker.queue.answers import Enqueued
from stoker.schedule import DAY, Every
from stoker.settings import LatePolicy, OverlapPolicy, ScheduleSettings
from stoker.worker.schedule.ledger import Ledger, Slot
from stoker.worker.schedule.tasks import Task

log = logging.getLogger(__name__)

MOST_LATE = 100
"""Late slots of a task that are run at most under `all`."""

Enqueue = Callable[[Job], Awaitable[object]]
IsOpen = Callable[[str], Awaitable[bool]]
"""Whether a job waits or runs."""
Clock = Callable[[], Awaitable[datetime]]
"""The time by which slots are due; raises DatabaseUnavailable."""


class Overlaps:
    """Instead of an answer: the job of the task's last slot has not ended."""


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
        due = [task for task in self._tasks if self._settled.get(task.name) != task.newest(now)]
        again: dict[Slot, datetime] = {}
        for every_one in (False, True):
            slots = {
                Slot(task.name, at): task
                for task in due
                if (task.late is LatePolicy.ALL) is every_one
                for at in await self._due(task, task.newest(now), now)
            }
            if slots:
                again |= await self._try(slots, now, every_one=every_one)
        unsettled = {slot.task for slot in again}
        self._settled |= {task.name: task.newest(now) for task in due if task.name not in unsettled}
        return min([*(task.following(now) for task in self._tasks), *again.values()], default=now + DAY)

    async def _due(self, task: Task, newest: datetime, now: datetime) -> Sequence[datetime]:
        is_late = now - newest > self._grace
        if not isinstance(task, Every) and is_late and not await self._ledger.has_begun(task.name):
            # A new entry: a deployment at noon must not send the mails of six o'clock.
            await self._ledger.skip(Slot(task.name, newest))
        if task.late is LatePolicy.ALL:
            return await self._ledger.owed(task.name, task.last(now, MOST_LATE))
        if task.late is LatePolicy.SKIP and is_late:
            # Does not touch a slot that was claimed in time and not finished.
            await self._ledger.skip(Slot(task.name, newest))
        return [newest]

    async def _try(
        self, slots: Mapping[Slot, Task], now: datetime, *, every_one: bool
    ) -> dict[Slot, datetime]:
        """Run the slots that are free; when to try which again."""
        claimed = await self._ledger.claim(list(slots), self._lease, begin_older=every_one)
        again = await self._run({slot: task for slot, task in slots.items() if slot in claimed}, now)
        left = [slot for slot in slots if slot not in claimed]
        if every_one:
            # Unclaimed and not to be claimed: its task is paused. Its slots pass and are not made up for.
            for slot in left:
                await self._ledger.skip(slot)
        for slot, state in (await self._ledger.states(left) if left else {}).items():
            if not state.settled:
                wait = state.lease_left if state.lease_left > timedelta(0) else self._retry
                again[slot] = now + wait
        return again

    async def _run(self, slots: Mapping[Slot, Task], now: datetime) -> dict[Slot, datetime]:
        """Enqueue the jobs of claimed slots; when to try again which could not be enqueued."""
        if not slots:
            return {}
        apart = [task.name for task in slots.values() if task.overlap is OverlapPolicy.SKIP]
        last = await self._ledger.last_jobs(apart) if apart else {}
        found = await asyncio.gather(
            *(self._enqueued(task, slot, last.get(slot.task)) for slot, task in slots.items()),
            return_exceptions=True,
        )
        answers = dict(zip(slots, found, strict=True))
        # A worker killed here leaves the slots to run again after their lease: at least once.
        done = {slot: one for slot, one in answers.items() if not isinstance(one, BaseException | Overlaps)}
        if done:
            await self._ledger.done(
                {slot: one.job_id if isinstance(one, Enqueued) else None for slot, one in done.items()}
            )
            for slot in done:
                log.info("schedule.enqueued", extra=_fields(slot, now))
        left = {slot: one for slot, one in answers.items() if slot not in done}
        return {slot: at for slot, one in left.items() if (at := await self._not_enqueued(slot, one, now))}

    async def _enqueued(self, task: Task, slot: Slot, last: str | None) -> object:
        """The answer of the queue, unless the task's last job has not ended."""
        if last is not None and await self._is_open(last):
            return Overlaps()
        return await self._enqueue(task.job_at(slot.at))

    async def _not_enqueued(self, slot: Slot, why: object, now: datetime) -> datetime | None:
        """Settle the slot or give it back; returns when to try it again."""
        if isinstance(why, Overlaps):
            await self._ledger.overlapped(slot)
            log.warning("schedule.overlapped", extra=_fields(slot, now))
            return None
        if isinstance(why, BaseException) and not isinstance(why, Unavailable):
            raise why
        log.warning("schedule.not_enqueued", extra={**_fields(slot, now), "error": str(why)})
        await self._ledger.failed(slot, str(why), self._retry)
        return now + self._retry


def _fields(slot: Slot, now: datetime) -> dict[str, object]:
    return {"task": slot.task, "slot": slot.at.isoformat(), "late_s": (now - slot.at).total_seconds()}
