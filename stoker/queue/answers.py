"""What callers are told when they ask for work or take it back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """What became of a request for work."""

    ENQUEUED = "enqueued"
    """It is a new job."""
    COALESCED = "coalesced"
    """A job of the same key waits and has not begun: it will do this work too."""
    WILL_RERUN = "will_rerun"
    """A job of the same key runs; this one waits, because what runs may have read before the change."""


class CancelAnswer(StrEnum):
    """What became of a request to cancel a job."""

    CANCELLED = "cancelled"
    """It waited: it will not run."""
    CANCELLING = "cancelling"
    """It runs: its worker ends it within a second, wherever that is, unless it comes to its own end first."""
    NOT_FOUND = "not_found"
    """It neither waits nor runs: it has ended, or never was."""


@dataclass(frozen=True)
class Enqueued:
    """The answer to a request for work."""

    job_id: str
    """The job that will do the work; 32 characters."""
    answer: Answer
    """Whether it is a new one."""
