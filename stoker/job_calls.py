"""The calls of an application that are about jobs: enqueue, follow, cancel. `Stoker` has them.

They need the queue Redis; `enqueue_in` needs Postgres alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from stoker.errors import BadRequest
from stoker.jobs import Job
from stoker.outbox.record import AnySession
from stoker.parts import Parts
from stoker.queue.answers import CancelAnswer, Enqueued
from stoker.queue.batches import Batch, batch_of, batch_of_job, check_batch, enqueue_batch
from stoker.queue.due import check_span, delay_of
from stoker.queue.packing import is_request_id
from stoker.queue.progress import JobState, Progress, ProgressReport
from stoker.queue.result import result_of


class JobCalls:
    """What an application may ask about jobs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.domain = parts.domain
        self.queue = parts.queue

    async def enqueue(
        self, job: Job, *, delay: timedelta = timedelta(0), at: datetime | None = None
    ) -> Enqueued:
        """Ask the worker for a job, not before `delay` has passed or `at` has come; raises QueueUnavailable.

        A job whose coalesce key waits already is not written a second time; the answer says so. Raises
        UnknownJob for one that no handler of the domain runs, BadRequest for one that names a view, scope or
        warm plan which the domain does not have, and for one that is too large.
        """
        return (await self.enqueue_many([job], delay=delay, at=at))[0]

    async def enqueue_many(
        self, jobs: Sequence[Job], *, delay: timedelta = timedelta(0), at: datetime | None = None
    ) -> list[Enqueued]:
        """As `enqueue`, for many jobs in their order: one round trip for each 500."""
        for job in jobs:
            self.domain.check_job(job)
        return await self.queue.enqueue_many(jobs, delay=delay_of(delay, at))

    async def enqueue_batch(
        self,
        jobs: Sequence[Job],
        *,
        then: Job | None = None,
        batch_id: str | None = None,
        delay: timedelta = timedelta(0),
        at: datetime | None = None,
    ) -> Batch:
        """Enqueue jobs that are counted as they end, and `then` once, when the last one has ended.

        A job has ended when it is done, dead or cancelled; a retry is no end. `then` runs with
        `context.batch`. Without jobs it is enqueued at once. The answer has the batch's id and `job_ids`.

        A call that raised QueueUnavailable may be repeated with the same `batch_id` and the same jobs: those
        that were written are not written again. A handler gives `context.job_id`, so that a second run of it
        makes no second batch. Raises BadRequest for a job with a coalesce key, and what `enqueue` raises.
        """
        check_batch(jobs, then, batch_id)
        for job in (*jobs, *([then] if then is not None else [])):
            self.domain.check_job(job)
        return await enqueue_batch(self.queue, jobs, then, batch_id, delay_of(delay, at))

    async def batch(self, batch_id: str) -> Batch | None:
        """How many jobs of a batch have ended how; None for an unknown one. Raises QueueUnavailable.

        It is kept for 30 days after its end (`queue.expires_s`).
        """
        return await batch_of(self.queue, batch_id)

    def enqueue_in(
        self,
        session: AnySession,
        job: Job,
        *,
        delay: timedelta = timedelta(0),
        at: datetime | None = None,
    ) -> str:
        """Ask for a job in the session's transaction: it is enqueued after the commit, or not at all.

        Returns the id that the job will have. Takes async, sync and scoped sessions; touches no Redis. A
        worker delivers it once, within milliseconds of the commit where the queue answers, else when it is
        back. Jobs of one lane are delivered in the order of asking, as far as their transactions commit in
        it. Raises what `enqueue` raises for a job that could never run, and WrongServer as `record` does.
        """
        self.domain.check_job(job)
        later = delay_of(delay, at)
        due_at = datetime.now(UTC) + later if later else None
        return self._parts.requests.add(*self._parts.outbox.pending(session), job, due_at)

    async def result(self, job_id: str, timeout: timedelta = timedelta(seconds=30)) -> Any:  # noqa: ANN401, ASYNC109 - JSON; the word for it
        """What the handler of a job returned, as JSON gives it back; waits until the job has ended.

        For jobs with `keep_result`. Raises JobFailed with the job's error, NoResult where none is kept,
        TimeoutError, QueueUnavailable or DatabaseUnavailable.
        """
        _check_id(job_id)
        check_span(timeout, "timeout")
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await result_of(self.queue, job_id, self._is_on_its_way)
        except TimeoutError:
            seconds = timeout.total_seconds()
            raise TimeoutError(f"job {job_id:.64} has not ended within {seconds:g} s") from None

    async def progress(self, job_id: str) -> ProgressReport | None:
        """The last report about a job that reports, or that is followed; None if there is none.

        Raises QueueUnavailable.
        """
        _check_id(job_id)
        return await Progress(self.queue.redis, self.queue.settings).read(job_id)

    async def cancel(self, job_id: str) -> CancelAnswer:
        """End a waiting or running job for good; raises QueueUnavailable.

        Where the job is one of `enqueue_in`, raises DatabaseUnavailable if it could not be noted that it has
        ended: it is cancelled, but a queue that loses its data would get it again.
        """
        _check_id(job_id)
        answer = await self.queue.cancel(job_id)
        if answer is CancelAnswer.CANCELLED:  # callers that wait for its result must see its end
            await Progress(self.queue.redis, self.queue.settings).finish(job_id, JobState.CANCELLED)
        if answer is not CancelAnswer.NOT_FOUND and is_request_id(job_id):
            await self._parts.ends.note([job_id])
        return answer

    async def _is_on_its_way(self, job_id: str) -> bool:
        """Whether a job is not in the queue yet, but will be: it follows a batch, or was requested."""
        batch = await batch_of_job(self.queue, job_id, following=True)
        if batch is not None:
            return batch.ended_at is None
        return await self._parts.requests.is_on_its_way(job_id)


def _check_id(job_id: object) -> None:
    if not isinstance(job_id, str):
        raise BadRequest(f"give the job's id, such as `asked.job_id`, not {job_id!r:.60}", field="job_id")
