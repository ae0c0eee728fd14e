"""The kept result of a job as operators see it: how it begins, or why there is none.

Reads the queue alone, and never more of a result than is shown. Raises QueueUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel

from stoker.history.job_rows import JobRow
from stoker.jobs import JOBS, Job, Outcome
from stoker.jobs.arq_call import ArqCall
from stoker.queue.progress import Progress
from stoker.stoker import Stoker

SHOWN_BYTES = 10_000
"""Bytes of a result that are shown; one may have 1 MB."""
BUILT_IN = frozenset(JOBS)


class ResultState(StrEnum):
    """Whether a job has a result that can be fetched."""

    KEPT = "kept"
    NOT_ENDED = "not_ended"
    NOTHING = "nothing"
    """It failed or was cancelled, or how it ended is not known."""
    NOT_KEPT = "not_kept"
    """Its kind has no `keep_result`."""
    EXPIRED = "expired"
    """It was kept, for as long as the kind's `keep_result` says."""
    LOST = "lost"
    """It should still be kept, but the queue does not have it: it has lost data, or dropped it."""


class ResultShown(BaseModel):
    """A result. `text`: its JSON, at most the first 10,000 bytes of `size_bytes`; null for viewers."""

    state: ResultState
    says: str
    text: str | None = None
    size_bytes: int | None = None
    expires_at: datetime | None = None


async def result_of(
    stoker: Stoker,
    job_id: str,
    kind: type[Job] | None,
    runs: Sequence[JobRow],
    *,
    waits: bool,
    whole: bool,
) -> ResultShown | None:
    """The result of a job that is not one of Stoker's own; None where nothing is known of it.

    `runs`: those that are known, the newest first. `waits`: it has not ended. `whole`: with its text.
    """
    if kind is not None and (kind.kind in BUILT_IN or issubclass(kind, ArqCall)):
        return None
    found = await Progress(stoker.queue.redis, stoker.queue.settings).beginning(job_id, SHOWN_BYTES)
    if found is not None and not waits:
        text, size_bytes, left = found
        return ResultShown(
            state=ResultState.KEPT,
            says=_kept(size_bytes, whole=whole),
            text=text if whole else None,
            size_bytes=size_bytes,
            expires_at=None if left is None else datetime.now(UTC) + left,
        )
    return None if kind is None else _missing(kind, runs, waits=waits)


def _kept(size_bytes: int, *, whole: bool) -> str:
    if not whole:
        return f"Kept: {size_bytes:,} bytes of JSON. Only operators see it."
    if size_bytes > SHOWN_BYTES:
        return f"Kept: {size_bytes:,} bytes of JSON, of which the first {SHOWN_BYTES:,} are shown."
    return f"Kept: {size_bytes:,} bytes of JSON."


def _missing(kind: type[Job], runs: Sequence[JobRow], *, waits: bool) -> ResultShown:
    kept = kind.keep_result
    if kept is None:
        return ResultShown(
            state=ResultState.NOT_KEPT, says=f"No result is kept: {kind.kind} has no keep_result."
        )
    if waits:
        return ResultShown(state=ResultState.NOT_ENDED, says="The job has not ended.")
    if not runs or runs[0].outcome != Outcome.DONE:
        why = f"its last run is {runs[0].outcome}" if runs else "no run of it is known"
        return ResultShown(state=ResultState.NOTHING, says=f"The job has no result: {why}.")
    # It was written between the begin and the end of the run.
    begun_at = runs[0].ended_at - timedelta(seconds=runs[0].ran_s)
    if begun_at + kept <= datetime.now(UTC):
        return ResultShown(
            state=ResultState.EXPIRED, says=f"The result has expired: {kind.kind} keeps it for {kept}."
        )
    return ResultShown(
        state=ResultState.LOST,
        says=f"The result is lost: {kind.kind} keeps it for {kept}, but the queue does not have it.",
    )
