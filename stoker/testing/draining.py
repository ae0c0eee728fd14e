"""Runs the jobs that are due in the test's own process and loop, one after the other.

They are claimed, read, run and ended by the same scripts and functions as in a worker. Nothing waits for a
time: what is due later is left, or run at once where the test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from arq.worker import Retry, RetryJob

from stoker.errors import Defer, InvalidJob, JobFailed
from stoker.handlers import relay
from stoker.handlers.deliver import deliver_all
from stoker.handlers.own import OwnJobs
from stoker.jobs import LANES, Job, Relay, parse
from stoker.outbox.ends import JobEnds
from stoker.queue import wire
from stoker.queue.packing import is_request_id
from stoker.queue.stored import stored
from stoker.redis.queue import answering
from stoker.stoker import Stoker
from stoker.testing.found import shown
from stoker.testing.waiting import Waiting, enqueued
from stoker.worker.arq.part import ArqPart
from stoker.worker.engine.attempts import Attempts, function_of
from stoker.worker.engine.claims import Claim, Claims, Ending
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.finisher import Finisher
from stoker.worker.engine.observer import Silent
from stoker.worker.engine.parts import Judge, Parts
from stoker.worker.engine.running import Running
from stoker.worker.engine.verdict import Verdict
from stoker.worker.process import runner

MOST_RUNS = 10_000
"""Runs of one call, so that jobs which enqueue each other without end fail the test."""
CLAIM_LIFE_S = 3600.0
"""Nobody renews the claims of a test."""


@dataclass(frozen=True)
class Ran:
    """One run of a job."""

    job_id: str
    kind: str
    lane: str
    job: Job | None
    """None where it could not be read."""
    outcome: str
    """`done`, `dead`, `cancelled`; it waits again: `retried`, `postponed`, `deferred`, `parked`."""
    error: BaseException | None
    """What the handler raised."""

    def __str__(self) -> str:
        return f"{shown(self.job, self.kind)}: {self.outcome}"


@dataclass(frozen=True)
class Drained:
    """What `drain` did."""

    ran: tuple[Ran, ...]
    """Each run, in order. Stoker's own relays are left out."""
    waiting: tuple[Waiting, ...]
    """What is left, with the time at which it is due."""

    def of(self, kind: type[Job]) -> list[Ran]:
        """The runs of one class of jobs."""
        return [one for one in self.ran if one.kind == kind.kind]


async def drain(
    stoker: Stoker, lanes: str | Iterable[str] | None = None, *, raises: bool = True, later: bool = False
) -> Drained:
    """Run the jobs that are due, and those that they enqueue, until none is due.

    Before each job, committed requests are delivered and recorded events applied, as a worker does meanwhile.
    `lanes`: only jobs of this lane, or of these; without any, those of all lanes. `raises`: the first error
    of a handler ends the call and is raised; with False it is in the result. `later`: jobs that are due
    later, retries included, run as if their time had come. The domain's `lifespan` is opened for the call,
    and an arq application's `on_startup` and `on_shutdown` are called.

    Raises AssertionError after 10,000 runs, and UnknownLane.
    """
    asked = stoker.domain.all_lanes if lanes is None else [lanes] if isinstance(lanes, str) else lanes
    names = [stoker.domain.lane(name) for name in asked]
    draining = _Draining(stoker, names)
    async with draining.opened():
        ran: list[Ran] = []
        while True:
            await deliver_all(stoker)
            await relay.apply_all(stoker)
            asked_at = datetime.now(UTC)
            one = await draining.next()
            if one is None and later and await draining.bring_forward(asked_at):
                continue
            if one is None:
                break
            if one.kind == Relay.kind:
                continue
            ran.append(one)
            if raises and one.error is not None:
                one.error.add_note(f"raised by {one} (job {one.job_id}), which stoker.testing.drain ran")
                raise one.error
            if len(ran) >= MOST_RUNS:
                raise AssertionError(f"{MOST_RUNS:,} jobs ran, and others are still due; the last was {one}")
    return Drained(tuple(ran), tuple(await enqueued(stoker)))


@dataclass
class _Draining:
    stoker: Stoker
    lanes: Sequence[str]
    errors: dict[str, BaseException] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stoker = self.stoker
        lanes = stoker.domain.all_lanes
        self.claims = Claims(stoker.queue.connection, stoker.queue.settings, lanes, CLAIM_LIFE_S)
        self.letters, self.ends = DeadLetters(stoker.engine), JobEnds(stoker.engine)
        self.own = OwnJobs(stoker.domain)
        self._carry_out = runner(stoker, self.own)
        parts = Parts(
            redis=stoker.queue.redis,
            claims=self.claims,
            finisher=Finisher(self.claims),
            letters=self.letters,
            ends=self.ends,
            run=self._run,
            observer=Silent(),
            job_types=stoker.domain.job_types,
        )
        functions = {kind: function_of(job, self._run) for kind, job in stoker.domain.job_types.items()}
        self.judges: dict[str, Judge] = {str(lane): Attempts(lane, parts, functions, {}) for lane in lanes}
        application = stoker.domain.arq_application
        self.arq = (
            ArqPart(application, stoker.settings, (*LANES, *stoker.domain.lanes)) if application else None
        )
        if self.arq is not None:
            self.own.add(self.arq.application.calls.values(), self.arq.handle)
            self.judges[str(self.arq.application.lane)] = self.arq.guest().judge(parts, {})

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """With what a worker opens for the domain's jobs."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.own.opened(self.stoker))
            if self.arq is not None:
                stack.push_async_callback(self.arq.close)
                await stack.enter_async_context(self.arq.opened())
            yield

    async def next(self) -> Ran | None:
        """Run one due job of the first lane that has one."""
        for lane in self.lanes:
            for claim in (await self.claims.claim(lane, 1)).claims:
                return await self._one(lane, claim)
        return None

    async def bring_forward(self, after: datetime) -> bool:
        """Make due what was not due at a time, the earliest job alone; whether there is one."""
        later = [
            one
            for one in await enqueued(self.stoker)
            if one.why in {"later", "due"} and one.due_at > after and one.lane in self.lanes
        ]
        if not later:
            return False
        first = min(later, key=lambda one: one.due_at)
        redis: Any = self.stoker.queue.redis
        async with answering(self.stoker.queue.settings.timeout_s):
            await redis.zadd(
                wire.queue_name(self.stoker.queue.settings, first.lane), {first.job_id: 0}, xx=True
            )
        return True

    async def _one(self, lane: str, claim: Claim) -> Ran:
        halt: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        verdict = await self.judges[str(lane)].judge(Running(claim, halt))
        assert verdict is not None, "the claim was lost"  # noqa: S101 - nobody else has asked for it
        if verdict.letter is not None:
            await self.letters.bury(verdict.letter)
        end = verdict.finish
        if end.ending is Ending.REMOVE and is_request_id(end.job_id):
            await self.ends.note([end.job_id])
        await self.claims.finish([end])
        if verdict.then is not None:
            await verdict.then()
        job, error = self._job(lane, claim), self._error(claim, verdict)
        return Ran(claim.job_id, verdict.kind, lane, job, verdict.outcome, error)

    async def _run(self, job_id: str, job: Job, attempt: int) -> str:
        try:
            return await self._carry_out(job_id, job, attempt)
        except (Defer, Retry, RetryJob):
            raise
        except BaseException as error:
            self.errors[job_id] = error
            raise

    def _error(self, claim: Claim, verdict: Verdict) -> BaseException | None:
        found = self.errors.pop(claim.job_id, None)
        if isinstance(found, asyncio.CancelledError):
            return TimeoutError(f"{verdict.kind} took longer than its timeout")
        if found is None and verdict.letter is not None:
            return JobFailed(f"{verdict.kind}: {verdict.letter.reason}: {verdict.letter.error}")
        return found

    def _job(self, lane: str, claim: Claim) -> Job | None:
        domain = self.stoker.domain
        try:
            said = stored(domain, lane, claim.payload or b"")
            return parse(said.kind, said.payload, domain.job_types)
        except InvalidJob:
            return None
