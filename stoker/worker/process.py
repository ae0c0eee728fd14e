"""The worker process: engine, sweeper, schedule and history, each supervised, and stopped in order.

It survives a restart of either Redis and of Postgres. When it stops, it starts no new jobs, running jobs
finish within the deadline, and events recorded until then are applied if the cache answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection
from datetime import timedelta
from functools import partial
from importlib.metadata import version

from stoker import tracing
from stoker.cache.term import LEARN_S
from stoker.errors import Defer, LifespanFailed, QueueUnavailable, WrongServer
from stoker.handlers import relay
from stoker.handlers.context import JobContext
from stoker.handlers.deliver import deliver_lost_too
from stoker.handlers.own import OwnJobs
from stoker.handlers.run import run
from stoker.history.keeper import Keeper
from stoker.history.recorder import Recorder
from stoker.history.roster import Roster
from stoker.history.times import JobTimes
from stoker.jobs import LANES, Job
from stoker.process_name import process_name
from stoker.queue import owner
from stoker.queue.batches import batch_of_job
from stoker.queue.progress import Progress
from stoker.settings import Settings, require
from stoker.stoker import Stoker
from stoker.telemetry.endpoint import endpoint
from stoker.telemetry.log import say_of_task
from stoker.telemetry.metrics import own_process
from stoker.worker.arq.part import ArqPart
from stoker.worker.beside import beside
from stoker.worker.engine.observer import Observer
from stoker.worker.engine.parts import Run
from stoker.worker.engine.runner import Engine, EngineSettings
from stoker.worker.engine.supervisor import supervise
from stoker.worker.forecaster import Forecaster
from stoker.worker.heartbeat import Heartbeat
from stoker.worker.schedule.ledger import Ledger
from stoker.worker.schedule.runner import Schedule
from stoker.worker.schedule.tasks import tasks
from stoker.worker.sweeper import Sweeper

log = logging.getLogger(__name__)

ASK_AGAIN_S = 0.5
"""Seconds between two attempts to reach a queue that does not answer at the start."""


async def run_worker(
    stoker: Stoker,
    settings: Settings,
    stop: asyncio.Event,
    now: asyncio.Event | None = None,
    only: Collection[str] = (),
    arq: ArqPart | None = None,
) -> None:
    """Work until `stop` is set; `now` cuts the deadline for running jobs short.

    `only`: the lanes whose jobs this process runs, where others run the rest; without any, all of them.
    `arq`: the part that runs the domain's arq application; without it one is made.
    """
    lanes = settings.lanes.of(stoker.domain.all_lanes)
    lanes = {name: lane for name, lane in lanes.items() if not only or name in only}
    own = OwnJobs(stoker.domain)
    if arq is None and stoker.domain.arq_application is not None:
        arq = ArqPart(stoker.domain.arq_application, settings, (*LANES, *stoker.domain.lanes))
    if arq is not None:
        own.add(arq.application.calls.values(), arq.handle)
    times, recorder = JobTimes(stoker.domain.job_types), Recorder(stoker.domain, process_name())
    heartbeat = Heartbeat(times.loop_blocked)
    engine = Engine(
        require(settings.redis_url, "REDIS_URL"),
        settings.queue,
        EngineSettings(lanes=lanes, stop_deadline_s=settings.worker.stop_deadline_s),
        run=heartbeat.around(recorder.around(runner(stoker, own))),
        sql=stoker.engine,
        observer=Observers(times, recorder),
        job_types=stoker.domain.job_types,
        guests={} if arq is None else {arq.application.lane: arq.guest()},
    )
    ledger = Ledger(stoker.engine, process_name())
    schedule = Schedule(
        tasks(settings.schedule, stoker.domain),
        ledger,
        stoker.enqueue if arq is None else partial(arq.enqueue, otherwise=stoker.enqueue),
        stoker.queue.is_open,
        settings.schedule,
    )
    sweep = timedelta(seconds=settings.worker.sweep_s)
    sweeper = Sweeper(lambda: relay.apply_all(stoker), sweep)
    # A sweeper of its own: a delay of one must not delay the other.
    deliverer = Sweeper(lambda: deliver_lost_too(stoker), sweep, "requests")
    term = Sweeper(stoker.cache_term.keep, timedelta(seconds=LEARN_S), "the term")
    every = timedelta(seconds=settings.worker.history_every_s)
    keeper = Keeper(stoker, recorder, process_name(), every, lanes)
    forecaster = Forecaster(stoker, process_name(), lanes)
    roster = Roster(
        stoker.engine, process_name(), settings.worker.release or _release(), engine.load, engine.set_quiet
    )
    idle = asyncio.Event()
    slots = {name: lane.concurrency for name, lane in lanes.items()}
    log.info("worker.started", extra={"slots": slots, "worker": process_name()})
    stuck = _both(engine.stuck, own.stuck)
    failure: LifespanFailed | None = None
    async with endpoint(own_process(), settings.worker, stuck), beside() as start:
        # Jobs that end during the stop may have recorded events: the sweeper goes last.
        for name, part, ends in (
            ("sweeper", sweeper.run, idle),
            ("deliverer", deliverer.run, idle),
            ("history", keeper.run, idle),
            ("roster", roster.run, idle),
            ("term", term.run, stop),
            ("prediction", forecaster.run, stop),
        ):
            start(name, partial(part, ends))
        start("times", lambda: times.run(stoker.queue, idle))
        try:
            refusal = await _refusal(stoker, stop)
            if refusal is None:
                async with own.opened(stoker), _opened(arq, ledger, stop, lanes), heartbeat.watching():
                    start("schedule", lambda: schedule.run(stop))
                    await engine.run(stop, now)
        except LifespanFailed as error:
            log.exception("worker.lifespan_failed")
            failure = error
        finally:
            stop.set()
            idle.set()
            if arq is not None:
                await arq.close()
    if refusal is not None:
        raise WrongServer(refusal)
    if failure is not None:
        raise failure
    log.info("worker.stopped")


@contextlib.asynccontextmanager
async def _opened(
    arq: ArqPart | None, ledger: Ledger, stop: asyncio.Event, lanes: Collection[str]
) -> AsyncIterator[None]:
    """With the arq application's hooks and health key, where this process runs its lane.

    A burst sets `stop` when its queue is empty.
    """
    if arq is None or arq.application.lane not in lanes:
        yield
        return

    async def begin() -> None:
        await supervise("arq.startup", lambda: arq.run_at_startup(ledger))
        if arq.burst:
            await arq.until_empty()
            stop.set()

    async with arq.opened():
        beside = [
            asyncio.create_task(begin(), name="arq.startup"),
            asyncio.create_task(supervise("arq.health", arq.keep_healthy), name="arq.health"),
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)


def _release() -> str:
    return f"stoker {version('stoker')}"


def _both(*stuck: Callable[[], list[str]]) -> Callable[[], list[str]]:
    return lambda: [part for one in stuck for part in one()]


async def _refusal(stoker: Stoker, stop: asyncio.Event) -> str | None:
    """Why the queue is not ours, once it answers: jobs of another installation must not run here."""
    settings = stoker.queue.settings
    while not stop.is_set():
        try:
            theirs = await owner.claimed(stoker.queue.connection, settings, stoker.installation)
        except QueueUnavailable as error:
            log.info("worker.waits_for_queue", extra={"error": str(error)})
        else:
            ours = theirs in (None, stoker.installation)
            return None if ours else owner.refused(settings, str(theirs), stoker.installation)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_AGAIN_S):
                await stop.wait()
    return None


class Observers:
    """Calls each of several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def job_started(self, lane: str, kind: str, waited_s: float) -> None:
        """A job starts."""
        for observer in self._observers:
            observer.job_started(lane, kind, waited_s)

    def job_ended(self, lane: str, kind: str, outcome: str, ran_s: float) -> None:
        """A job ended."""
        for observer in self._observers:
            observer.job_ended(lane, kind, outcome, ran_s)


def runner(stoker: Stoker, own: OwnJobs | None = None) -> Run:
    """The function that the engine calls for each run of a job: it runs the handler."""
    progress = Progress(stoker.queue.redis, stoker.queue.settings)

    async def carry_out(job_id: str, job: Job, attempt: int) -> str:
        facts: dict[str, str | int | float] = {
            "messaging.message.id": job_id,
            "stoker.lane": str(job.lane),
            "stoker.attempt": attempt,
        }
        resources = own.resources if own else None
        say_of_task(job_id=job_id)
        with tracing.span_of_task(f"run {job.kind}", "consumer", facts):
            batch = await batch_of_job(stoker.queue, job_id, following=True)
            context = JobContext(stoker, progress, job_id, attempt, resources, batch)
            try:
                outcome = (await run(context, job, own)).value
            except Defer as wish:  # the span must not record it as an error
                deferred = wish
            else:
                return outcome
        raise deferred

    return carry_out
