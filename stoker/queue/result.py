"""Waiting for the result of a job. Reads only; raises QueueUnavailable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from stoker.errors import JobFailed, NoResult
from stoker.queue.enqueue import Queue
from stoker.queue.progress import JobState, Progress, ProgressReport

FIRST_S, LONGEST_S = 0.01, 0.25
"""Seconds between two checks: short at first, because most jobs are short."""


async def result_of(queue: Queue, job_id: str, is_on_its_way: Callable[[str], Awaitable[bool]]) -> Any:  # noqa: ANN401 - JSON
    """What the job's handler returned, once it has ended; raises JobFailed or NoResult.

    `is_on_its_way`: whether the job is requested and not in the queue yet.
    """
    progress, pause_s = Progress(queue.redis, queue.settings), FIRST_S
    while True:
        # Asked in this order: a job writes its result before it ends.
        is_open = await is_on_its_way(job_id) or await queue.is_open(job_id)
        kept = await progress.result(job_id)
        if kept is not None:
            return json.loads(kept)
        report = await progress.read(job_id)
        if report is not None and report.state in {JobState.FAILED, JobState.CANCELLED}:
            raise JobFailed(f"job {job_id:.64} {_ended(report)}")
        if not is_open:
            raise NoResult(f"job {job_id:.64} has ended or never was, and no result of it is kept")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_S)


def _ended(report: ProgressReport) -> str:
    if report.state is JobState.CANCELLED:
        return "was cancelled"
    return f"failed: {report.error or 'no reason is known'}"
