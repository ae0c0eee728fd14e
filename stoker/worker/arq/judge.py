"""Runs the jobs of arq's queue and decides how they end, as arq's Worker does, with Stoker's guarantees.

What arq loses becomes a dead letter: failed, expired, unreadable and exhausted jobs. A function that this
release does not have parks its job, except in a burst. No hook ends the worker. The log lines are arq's.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from arq.constants import keep_cronjob_progress
from arq.jobs import DeserializationError, serialize_result
from arq.utils import args_to_string, timestamp_ms, truncate
from arq.worker import JobExecutionFailed, Retry, RetryJob

from stoker.arq.application import ArqApplication
from stoker.errors import InvalidJob
from stoker.worker.arq.call import Call, read
from stoker.worker.arq.state import State
from stoker.worker.engine.claims import Claim, Ending, Finish
from stoker.worker.engine.parts import Parts, Tasks
from stoker.worker.engine.running import Halt, Halted, Running, bounded, contained
from stoker.worker.engine.verdict import RESCUES_ALLOWED, Verdict

logger = logging.getLogger("arq.worker")

HOOK_S = 60
"""Seconds for `on_job_end` and `after_job_end`."""


class ArqJudge:
    """The runs of arq's queue in one process."""

    def __init__(self, application: ArqApplication, state: State, parts: Parts, tasks: Tasks) -> None:
        self._application = application
        self._lane = str(application.lane)
        self._state = state
        self._parts = parts
        self._tasks = tasks
        self._options = application.options

    @property
    def kinds(self) -> Sequence[str]:
        """The functions of this release."""
        return list(self._application.functions)

    async def judge(self, running: Running) -> Verdict | None:
        """Run a job and decide what happens to it; None: the claim was lost and another worker decides."""
        self._state.begun += 1
        self._state.running += 1
        try:
            found = self._read(running.claim)
            if isinstance(found, Verdict):
                self._tell("job_ended", found.kind, found.outcome, 0.0)
                return found
            self._tell("job_started", found.name, running.claim.waited_s)
            started = time.monotonic()
            verdict = await self._run(found, running.halt)
            outcome = verdict.outcome if verdict else "lost"
            self._tell("job_ended", found.name, outcome, time.monotonic() - started)
            return verdict
        finally:
            self._state.running -= 1

    def _read(self, claim: Claim) -> Call | Verdict:
        """The call that is to run, or the verdict on one that is not."""
        call = Call(claim)
        if claim.payload is None:
            logger.warning("job %s expired", claim.job_id)
            return self._dead(call, "expired", JobExecutionFailed("job expired"))
        try:
            call = read(claim, self._application)
        except InvalidJob as error:
            logger.exception("deserializing job %s failed", claim.job_id)
            # Its client gets arq's own error.
            return self._dead(call, "undecodable", error, DeserializationError("unable to deserialize job"))
        return self._refused(call) or call

    def _refused(self, call: Call) -> Verdict | None:
        """The verdict on a call that is not to run."""
        age_s, claim = timestamp_ms() / 1000 - call.enqueued_ms / 1000, call.claim
        if claim.aborted:
            logger.info("%6.2fs ⊘ %s:%s aborted before start", age_s, call.job_id, call.name)
            return self._aborted(call, timestamp_ms())
        if call.function is None:
            logger.warning("job %s, function %r not found", call.job_id, call.name)
            if self._state.burst:  # nobody waits for another release: the burst tells what it could not run
                return self._dead(call, "failed", JobExecutionFailed(f"function {call.name!r} not found"))
            return Verdict(call.name, "parked", self._finish(call, Ending.PARK, "parked"))
        if claim.rescues >= RESCUES_ALLOWED:
            died = JobExecutionFailed(f"its worker died {claim.rescues} times")
            return self._dead(call, "quarantined", died)
        most = self._application.max_tries(call.function)
        if call.attempt > most:
            logger.warning("%6.2fs ! %s max retries %d exceeded", age_s, call.ref, most)
            return self._dead(call, "exhausted", JobExecutionFailed(f"max {most} retries exceeded"))
        return None

    async def _run(self, call: Call, halt: asyncio.Future[Halt]) -> Verdict | None:
        assert call.function is not None  # noqa: S101 - one without is parked
        ctx, variables = call.context(self._state.ctx), contextvars.copy_context()
        start_ms = timestamp_ms()
        self._state.calls[call.job_id] = partial(self._carry_out, call, ctx)
        job = self._application.calls[call.name](**self._application.shown(call.args, call.kwargs or {}))
        work = asyncio.get_running_loop().create_task(
            contained(self._parts.run(call.job_id, job, call.attempt)), name=call.name, context=variables
        )
        self._tasks[call.job_id] = work
        verdict: Verdict | None
        try:
            await bounded(work, self._application.timeout_s(call.function), halt)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever a function raises
            verdict = self._raised(call, error, start_ms)
        else:
            verdict = self._succeeded(call, start_ms)
        finally:
            del self._state.calls[call.job_id]
            if self._tasks.get(call.job_id) is work:
                del self._tasks[call.job_id]
        if verdict is None:
            return None
        await self._hook("on_job_end", ctx, variables)
        then = partial(self._hook, "after_job_end", ctx, variables)
        return Verdict(verdict.kind, verdict.outcome, verdict.finish, verdict.letter, then)

    async def _carry_out(self, call: Call, ctx: dict[Any, Any]) -> None:
        if self._options["on_job_start"] is not None:
            await self._options["on_job_start"](ctx)
        now_ms, due_ms = timestamp_ms(), call.claim.due_ms
        said = f" try={call.attempt}" if call.attempt > 1 else ""
        if now_ms - due_ms > 1200:  # noqa: PLR2004 - as arq does
            said += f" delayed={(now_ms - due_ms) / 1000:0.2f}s"
        arguments = args_to_string(call.args, call.kwargs or {})
        logger.info("%6.2fs → %s(%s)%s", (now_ms - call.enqueued_ms) / 1000, call.ref, arguments, said)
        assert call.function is not None  # noqa: S101 - the same
        call.result = await call.function.coroutine(ctx, *call.args, **(call.kwargs or {}))
        shown = "" if call.result is None or not self._options["log_results"] else truncate(repr(call.result))
        logger.info("%6.2fs ← %s ● %s", (timestamp_ms() - now_ms) / 1000, call.ref, shown)

    def _succeeded(self, call: Call, start_ms: int) -> Verdict:
        self._state.complete += 1
        return Verdict(call.name, "done", self._ended(call, "done", call.result, start_ms, success=True))

    def _raised(self, call: Call, error: BaseException, start_ms: int) -> Verdict | None:
        ran_s = (timestamp_ms() - start_ms) / 1000
        reason = error.reason if isinstance(error, Halted) else None
        again = bool(self._options["retry_jobs"])
        if reason is Halt.LOST:
            return None
        if reason is Halt.CANCELLED:
            logger.info("%6.2fs ⊘ %s aborted", ran_s, call.ref)
            return self._aborted(call, start_ms)
        if again and isinstance(error, Retry):
            defer_s = (error.defer_score or 0) / 1000
            logger.info("%6.2fs ↻ %s retrying job in %0.2fs", ran_s, call.ref, defer_s)
            return self._again(call, Ending.RETRY, "retried", defer_s)
        if again and isinstance(error, Halted | asyncio.CancelledError | RetryJob):
            logger.info("%6.2fs ↻ %s cancelled, will be run again", ran_s, call.ref)
            if reason is Halt.STOPPED:
                return self._again(call, Ending.AGAIN, "returned")
            return self._again(call, Ending.RETRY, "retried")
        if reason is Halt.STOPPED:
            error = asyncio.CancelledError("its worker was stopped")
        return self._failed(call, error, start_ms, ran_s)

    def _failed(self, call: Call, error: BaseException, start_ms: int, ran_s: float) -> Verdict:
        extra = getattr(error, "extra", None)
        told = {"extra": _called(extra) if callable(extra) else extra}
        name = type(error).__name__
        logger.error("%6.2fs ! %s failed, %s: %s", ran_s, call.ref, name, error, exc_info=error, extra=told)
        self._state.failed += 1
        finish = self._ended(call, "failed dead", error, start_ms, success=False)
        return Verdict(call.name, "dead", finish, call.letter(self._lane, "failed", error))

    def _dead(self, call: Call, reason: str, error: Exception, result: Exception | None = None) -> Verdict:
        """The verdict on a call that never runs."""
        self._state.failed += 1
        finish = self._ended(call, "dead", result or error, timestamp_ms(), success=False)
        return Verdict(call.name, "dead", finish, call.letter(self._lane, reason, error))

    def _aborted(self, call: Call, start_ms: int) -> Verdict:
        self._state.failed += 1
        finish = self._ended(call, "cancelled", asyncio.CancelledError(), start_ms, success=False)
        return Verdict(call.name, "cancelled", finish)

    def _again(self, call: Call, ending: Ending, outcome: str, after_s: float = 0) -> Verdict:
        self._state.retried += 1
        totals = "retried" if ending is Ending.RETRY else ""
        return Verdict(call.name, outcome, self._finish(call, ending, totals, delay_s=after_s))

    def _ended(self, call: Call, totals: str, result: Any, start_ms: int, *, success: bool) -> Finish:  # noqa: ANN401 - the function's
        """The end of a job, with its result as arq's clients read it."""
        kept_s = self._application.kept_s(call.function)
        unrepeated_s = None
        if call.is_cron:
            # A stock worker that is late must not enqueue and run the same slot once more.
            unrepeated_s = float(keep_cronjob_progress)
            kept_s = None if kept_s is None else max(kept_s, unrepeated_s)
        written = b"" if kept_s == 0 else self._written(call, result, start_ms, success=success)
        return self._finish(
            call,
            Ending.REMOVE,
            totals,
            result=written,
            result_s=kept_s if written else None,
            unrepeated_s=unrepeated_s,
        )

    def _written(self, call: Call, result: Any, start_ms: int, *, success: bool) -> bytes:  # noqa: ANN401 - the same
        return (
            serialize_result(
                call.name,
                call.args,
                call.kwargs or {},
                call.attempt,
                call.enqueued_ms,
                success,
                result,
                start_ms,
                timestamp_ms(),
                call.ref,
                self._application.queue_name,
                call.job_id,
                serializer=self._application.serialize,
            )
            or b""
        )

    def _finish(self, call: Call, ending: Ending, totals: str, **more: Any) -> Finish:  # noqa: ANN401 - its fields
        counted = tuple(totals.split())
        return Finish(self._lane, call.job_id, ending, totals=counted, run=call.attempt, **more)

    async def _hook(self, name: str, ctx: dict[Any, Any], variables: contextvars.Context) -> None:
        hook = self._options[name]
        if hook is None:
            return
        work = asyncio.get_running_loop().create_task(contained(hook(ctx)), name=name, context=variables)
        try:
            await bounded(work, HOOK_S, asyncio.get_running_loop().create_future())
        except (Exception, asyncio.CancelledError):
            logger.exception("%s of job %s failed", name, ctx["job_id"])

    def _tell(self, what: str, *facts: str | float) -> None:
        try:
            getattr(self._parts.observer, what)(self._lane, *facts)
        except Exception:
            logging.getLogger(__name__).exception("engine.observer_raised", extra={"told": what})


def _called(extra: Callable[[], Any]) -> Any:  # noqa: ANN401 - for the log
    try:
        return extra()
    except Exception as error:  # noqa: BLE001 - the exception's own code
        return repr(error)
