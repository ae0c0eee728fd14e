"""One run of one claimed job: read it, run it within its time, decide what happens to it.

Claims nothing and ends nothing in Redis. Whatever a handler or an observer raises is caught here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from arq.cron import CronJob
from arq.worker import Function

from stoker import tracing
from stoker.errors import Defer
from stoker.jobs import Job
from stoker.postgres.errors import without_parameters
from stoker.worker.engine import verdict as verdicts
from stoker.worker.engine.observer import Observer
from stoker.worker.engine.parts import Parts, Run
from stoker.worker.engine.running import Halt, Halted, Running, bounded, contained
from stoker.worker.engine.verdict import ClaimedJob, Verdict

logger = logging.getLogger(__name__)


class Attempts:
    """The runs of one lane. `functions` and `tasks` are the lane's own, as arq has them."""

    def __init__(
        self,
        lane: str,
        parts: Parts,
        functions: Mapping[str, Function | CronJob],
        tasks: dict[str, asyncio.Task[Any]],
    ) -> None:
        self._lane = lane
        self._job_types = parts.job_types
        self._observer: Observer = parts.observer
        self._functions = functions
        self._tasks = tasks

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds that it can run."""
        return list(self._functions)

    async def judge(self, running: Running) -> Verdict | None:
        """Run a job and decide what happens to it; None: the claim was lost and another worker decides."""
        job = verdicts.read(self._lane, running.claim, self._job_types)
        if isinstance(job, Verdict):
            self._tell("job_ended", job.kind, job.outcome, 0.0)
            return job
        self._tell("job_started", job.stored.kind, running.claim.waited_s)
        started = time.monotonic()
        verdict = await self._run(job, running.halt)
        outcome = verdict.outcome if verdict else "lost"
        self._tell("job_ended", job.stored.kind, outcome, time.monotonic() - started)
        return verdict

    async def _run(self, job: ClaimedJob, halt: asyncio.Future[Halt]) -> Verdict | None:
        job_id, function = job.claim.job_id, self._functions[job.stored.kind]
        context = {"job_id": job_id, "job_try": job.attempt}
        with tracing.resumed(job.stored.trace):  # the task's context goes on in the trace of who asked
            work = asyncio.get_running_loop().create_task(
                function.coroutine(context, job.arguments), name=job.stored.kind
            )
        self._tasks[job_id] = work
        try:
            outcome = await bounded(work, function.timeout_s or 0, halt)
        except Defer as wish:
            return verdicts.deferred(job, wish.after)
        except Halted as halted:
            return _halted(job, halted.reason)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever a task raises
            extra = {"job_id": job_id, "kind": job.stored.kind, "attempt": job.attempt}
            logger.info("engine.job_failed", extra={**extra, "error": without_parameters(repr(error))[:500]})
            return verdicts.failed(job, error)
        else:
            return verdicts.succeeded(job, outcome)
        finally:
            if self._tasks.get(job_id) is work:
                del self._tasks[job_id]

    def _tell(self, what: str, *facts: str | float) -> None:
        try:
            getattr(self._observer, what)(self._lane, *facts)
        except Exception:
            logger.exception("engine.observer_raised", extra={"lane": self._lane, "told": what})


def function_of(job: type[Job], run: Run) -> Function:
    """A job as arq registers it."""

    async def carry_out(ctx: dict[Any, Any], *args: Any, **_: Any) -> str:  # noqa: ANN401 - arq's
        return await contained(run(ctx["job_id"], args[0], ctx["job_try"]))

    timeout_s = job.timeout.total_seconds()
    return Function(job.kind, carry_out, timeout_s, 0, None, job.retry.attempts)


def _halted(job: ClaimedJob, reason: Halt) -> Verdict | None:
    match reason:
        case Halt.STOPPED:
            return verdicts.returned(job)
        case Halt.CANCELLED:
            return verdicts.cancelled(job)
        case Halt.LOST:
            return None
