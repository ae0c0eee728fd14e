"""The answers to callers that enqueue or cancel a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """What became of a job that was enqueued."""

    ENQUEUED = "enqueued"
    """It is a new job."""
    COALESCED = "coalesced"
    """A job of the same key waits and has not begun: it does this work, too."""
    WILL_RERUN = "will_rerun"
    """A job of the same key runs. This one waits, because the running one may have read before the change."""


class CancelAnswer(StrEnum):
    """What became of a request to cancel a job."""

    CANCELLED = "cancelled"
    """It waited: it will not run."""
    CANCELLING = "cancelling"
    """It runs: its worker cancels it within a second, unless it ends by itself first."""
    RUNS_ELSEWHERE = "runs_elsewhere"
    """A stock arq worker runs it. It was asked to abort it, and does so only with `allow_abort_jobs`."""
    NOT_FOUND = "not_found"
    """It neither waits nor runs: it has ended, or never existed."""


@dataclass(frozen=True)
class Enqueued:
    """The answer to `enqueue`."""

    job_id: str
    """The job that will do the work; 32 characters."""
    answer: Answer
    """Whether it is a new one."""
