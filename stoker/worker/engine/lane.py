"""One lane: an arq Worker whose claims, ends and wake-ups are Stoker's (docs/decisions/0003).

A job never ends in Redis before its dead letter has committed. No handler, hook or outage ends the lane:
`main` raises QueueUnavailable and is run again by its supervisor, while jobs go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from arq.connections import ArqRedis
from arq.worker import Worker

from stoker.queue import wire
from stoker.queue.packing import is_request_id
from stoker.settings import LaneSettings
from stoker.worker.engine import verdict as verdicts
from stoker.worker.engine.alarm import Alarm
from stoker.worker.engine.attempts import Attempts, function_of
from stoker.worker.engine.burials import Burials
from stoker.worker.engine.claims import Claim, Ending, LaneNews
from stoker.worker.engine.meter import Meter
from stoker.worker.engine.notes import EndNotes
from stoker.worker.engine.parts import Judge, Parts
from stoker.worker.engine.running import Halt, Running
from stoker.worker.engine.verdict import Verdict
from stoker.worker.engine.watchdog import Watchdog

logger = logging.getLogger(__name__)

OFFER_PARKED_S = 5
"""Seconds between checks for parked jobs of kinds that this release knows."""


class LaneWorker(Worker):
    """A lane of one process. Inherits arq's registry, slots and counters; the ADR lists what it overrides."""

    def __init__(
        self, lane: str, settings: LaneSettings, parts: Parts, slots_freed: Callable[[LaneWorker], None]
    ) -> None:
        self.lane = lane
        self.concurrency = settings.concurrency
        """Slots, unless an operator has set another number for every worker."""
        self._rate_per_s, self._fair_cap = settings.rate_per_s, settings.fair_cap
        self._kind_rates = {
            wire.rate_mark(job): job.rate_per_s
            for job in parts.job_types.values()
            if job.rate_per_s and job.lane == lane
        }
        self.parts = parts
        self._slots_freed = slots_freed
        redis = ArqRedis(
            parts.redis.connection_pool,
            job_serializer=wire.serialize,
            job_deserializer=wire.deserialize,
        )
        super().__init__(
            functions=[function_of(job, parts.run) for job in parts.job_types.values()],
            queue_name=wire.queue_name(parts.claims.settings, lane),
            redis_pool=redis,
            handle_signals=False,
            max_jobs=settings.concurrency,
            keep_result=0,
            job_serializer=wire.serialize,
            job_deserializer=wire.deserialize,
        )
        self._running: dict[str, Running] = {}
        self._wake = asyncio.Event()
        self._asked: asyncio.Future[None] = self.loop.create_future()
        self._watchdog = Watchdog()
        self.meter = Meter()
        self._quiet = False
        self._alarm = Alarm(self._wake, self.loop)
        guest = parts.guests.get(lane)
        self._judge_of: Judge = (
            Attempts(lane, parts, self.functions, self.job_tasks)
            if guest is None
            else guest.judge(parts, self.job_tasks)
        )
        self._left = guest.most if guest else None
        """Jobs that it may still begin; None: any number."""
        self._burials = Burials(parts.letters, self._wake.set)
        self._notes = EndNotes(parts.ends, self._wake.set)
        self.hungry = False
        """The last claim filled every slot: there may be more."""
        self._parked = 0
        self._offer_at = 0.0
        self._claiming = 0
        self._cancelled_early: set[str] = set()
        """Jobs that were cancelled while a claim was under way that may bring them."""

    # Waking and claiming

    async def main(self) -> None:
        """Claim and start jobs until told to stop; raises QueueUnavailable."""
        while self.allow_pick_jobs:
            self._wake.clear()
            try:
                await self._poll_iteration()
            finally:
                self._watchdog.ended()
                asked, self._asked = self._asked, self.loop.create_future()
                asked.set_result(None)
            await self._wake.wait()

    async def _poll_iteration(self) -> None:
        if self._parked and self._free() and time.monotonic() >= self._offer_at:
            await self._claim(parked_kinds=self._judge_of.kinds)
            if not self.hungry:
                self._offer_at = time.monotonic() + OFFER_PARKED_S
        if self._free():
            await self._claim()
        else:
            self.hungry = True

    async def _claim(self, parked_kinds: Sequence[str] = ()) -> None:
        free = self._free()
        self._claiming += 1
        try:
            found = await self.parts.claims.claim(
                self.lane,
                free,
                rate_per_s=self._rate_per_s,
                fair_cap=self._fair_cap,
                kind_rates=self._kind_rates,
                parked_kinds=parked_kinds,
            )
            for claim in found.claims:
                self._start(claim)
        finally:
            self._claiming -= 1
            self._cancelled_early.clear()
        self.hungry = len(found.claims) >= free
        self._alarm.set(found.next_due_s)
        if not self.hungry:
            self._slots_freed(self)

    def _start(self, claim: Claim) -> None:
        # Nothing here may raise: a slot that is counted but has no task would never be free again.
        self._running[claim.job_id] = Running(claim, self.loop.create_future())
        if self._left is not None:
            self._left -= 1
        self.job_counter += 1
        self.meter.changed(self.job_counter)
        task = self.loop.create_task(self.run_job(claim.job_id, round(claim.due_ms)))
        self.tasks[claim.job_id] = task
        if claim.job_id in self._cancelled_early:
            self._running[claim.job_id].end(Halt.CANCELLED)
        if not self.allow_pick_jobs:  # told to stop while the claim was under way
            self._running[claim.job_id].end(Halt.STOPPED)

    def _free(self) -> int:
        behind = self._quiet or self._burials.too_many or self._notes.too_many
        free = 0 if behind else max(0, self.max_jobs - self.job_counter)
        return free if self._left is None else min(free, self._left)

    def has_slots(self) -> bool:
        """Whether the lane could take a job now."""
        return self.allow_pick_jobs and self._free() > 0

    def stuck(self) -> bool:
        """Whether the lane has due jobs and free slots but does not ask for work; thread-safe."""
        return self.has_slots() and self._watchdog.stuck()

    def wake(self) -> asyncio.Future[None]:
        """Ask for work; the future is done when the lane has asked."""
        self._wake.set()
        return self._asked

    def cancel(self, job_id: str) -> None:
        """End a job for good, if it is one of the lane's."""
        if job_id in self._running:
            self._running[job_id].end(Halt.CANCELLED)
        elif self._claiming:
            self._cancelled_early.add(job_id)

    def set_slots(self, slots: int) -> None:
        """Run so many jobs at once from now on; if more are running, they end first."""
        if slots != self.max_jobs:
            self.max_jobs = slots
            self.wake()

    def set_quiet(self, quiet: bool) -> None:  # noqa: FBT001 - its one argument
        """Take no new jobs while it is quiet; running ones go on."""
        was, self._quiet = self._quiet, quiet
        if was and not quiet:
            self.wake()

    def hear(self, news: LaneNews) -> None:
        """Act on what upkeep found: due jobs, operators' wishes, jobs that another worker has now."""
        self._watchdog.has_cause(whether=news.next_due_s is not None and news.next_due_s <= 0)
        self._alarm.set(news.next_due_s)
        self.set_slots(news.slots or self.concurrency)
        self._parked = news.parked
        if news.parked and time.monotonic() >= self._offer_at:
            self.wake()
        for job_id in news.cancel:
            self.cancel(job_id)
        for job_id in news.lost:
            if job_id in self._running:
                self._running[job_id].end(Halt.LOST)
        for job_id, rescues in news.rescued.items():
            extra = {"lane": self.lane, "job_id": job_id, "rescues": rescues}
            logger.warning("engine.job_rescued", extra=extra)

    def held(self) -> list[str]:
        """Ids of every job whose claim must be kept alive."""
        return list(self._running)

    # Stopping

    def stop_claiming(self) -> None:
        """Take no new jobs; running ones go on."""
        self.allow_pick_jobs = False
        self._wake.set()

    def halt_all(self) -> None:
        """End every task now; its job goes back to the queue."""
        for running in self._running.values():
            running.end(Halt.STOPPED)
        self._notes.give_up()

    async def wait_idle(self) -> None:
        """Wait until no job is left, ends included."""
        while self.tasks:
            await asyncio.wait(self.tasks.values())

    async def close(self) -> None:
        """Leave what is still running: its claims expire, and another worker rescues it."""
        self._alarm.cancel()
        left = [*self.tasks.values(), *self.job_tasks.values()]
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1) if left else None

    # One job

    async def run_job(self, job_id: str, score: int) -> None:  # noqa: ARG002 - arq's signature
        """Run a claimed job to its end in Redis."""
        running = self._running[job_id]
        try:
            try:
                verdict = await self._judge(running)
            finally:
                self._leave_slot()
            if verdict is not None:
                await self._carry_out(verdict)
        except Exception:
            # Neither the handler nor the job is at fault: the end could not be written. The claim expires,
            # and the job is rescued.
            logger.exception("engine.job_run_broke", extra={"lane": self.lane, "job_id": job_id})
        finally:
            if self._running.get(job_id) is running:
                del self._running[job_id]
                del self.tasks[job_id]

    async def _judge(self, running: Running) -> Verdict | None:
        try:
            return await self._judge_of.judge(running)
        except Exception as error:
            # The engine itself failed at this job. Run again, it would fail again.
            extra = {"lane": self.lane, "job_id": running.claim.job_id}
            logger.exception("engine.job_run_broke", extra=extra)
            return verdicts.quarantined(self.lane, running.claim, error)

    def _leave_slot(self) -> None:
        self.job_counter -= 1
        self.meter.changed(self.job_counter)
        if self.hungry:
            self._wake.set()

    async def _carry_out(self, verdict: Verdict) -> None:
        if verdict.letter is not None:
            await self._burials.bury(verdict.letter)
        end = verdict.finish
        if end.ending is Ending.REMOVE and is_request_id(end.job_id):
            await self._notes.note(end.job_id)
        if not await self.parts.finisher.finish(end):
            logger.warning("engine.claim_lost", extra={"lane": self.lane, "job_id": end.job_id})
        elif end.delay_s:
            self._alarm.set(end.delay_s)
        self.jobs_complete += "done" in end.totals
        self.jobs_failed += "dead" in end.totals
        self.jobs_retried += "retried" in end.totals
        if verdict.then is not None:
            await verdict.then()
