"""What happens to a claimed job: reads it, and turns the end of its run into one verdict.

Only decides; the lane writes to Redis and Postgres. No job vanishes: every path ends in the queue, parked or
in a dead letter.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from stoker.errors import InvalidJob, UnknownScope, UnknownView
from stoker.jobs import Job, RetryPolicy, parse
from stoker.postgres.errors import without_parameters
from stoker.queue import wire
from stoker.queue.progress import LONGEST_ERROR, JobState
from stoker.worker.engine import retry
from stoker.worker.engine.cause import fingerprint, normalised
from stoker.worker.engine.claims import SUSPECT_RESCUES, Claim, Ending, Finish
from stoker.worker.engine.letter import UNKNOWN, Letter

PARKED_FOR_S = 3600
"""For how long after it was enqueued a job about an unknown view or scope kind waits for a release that knows
it. Then it fails like any other."""
RESCUES_ALLOWED = SUSPECT_RESCUES + 1
"""A job that was running at this many deaths of its workers is quarantined: a suspect that has run alone."""


@dataclass(frozen=True)
class ClaimedJob:
    """A claimed job that this release can run."""

    lane: str
    claim: Claim
    stored: wire.Stored
    arguments: Job
    attempt: int
    """Number of this run, from 1; rescues, deploys and defers do not count."""


@dataclass(frozen=True)
class Verdict:
    """How a claim ends."""

    kind: str
    outcome: str
    finish: Finish
    letter: Letter | None = None
    """Committed before the job leaves Redis."""
    then: Callable[[], Awaitable[None]] | None = None
    """Called when all is written; it must not raise."""


def read(lane: str, claim: Claim, job_types: Mapping[str, type[Job]]) -> ClaimedJob | Verdict:
    """The job of a claim, or the verdict on one that cannot be run."""
    if claim.aborted:
        return _aborted(lane, claim)
    if claim.payload is None:
        return _dead(lane, claim, None, "expired", "its payload expired before it ran")
    try:
        stored = wire.decode(claim.payload)
    except InvalidJob as error:
        return _dead(lane, claim, None, "undecodable", str(error))
    if claim.rescues >= RESCUES_ALLOWED:
        return _dead(lane, claim, stored, "quarantined", f"its worker died {claim.rescues} times")
    if stored.kind not in job_types:
        end = Finish(lane, claim.job_id, Ending.PARK, flag=stored.flag, totals=("parked",), fair=stored.fair)
        return Verdict(stored.kind, "parked", end)
    return _parsed(lane, claim, stored, job_types)


def succeeded(job: ClaimedJob, outcome: str) -> Verdict:
    """The handler returned."""
    return _verdict(job, str(outcome), Ending.REMOVE, totals=("done",), state=JobState.DONE)


def deferred(job: ClaimedJob, after: timedelta) -> Verdict:
    """The handler asked to run later."""
    return _later(_verdict(job, "deferred", Ending.AGAIN, totals=("deferred",)), after)


def returned(job: ClaimedJob) -> Verdict:
    """The worker stops before the handler has ended: the job goes back without using a try."""
    return _verdict(job, "returned", Ending.AGAIN)


def cancelled(job: ClaimedJob) -> Verdict:
    """It was cancelled while it ran."""
    return _verdict(job, "cancelled", Ending.REMOVE, totals=("cancelled",), state=JobState.CANCELLED)


def failed(job: ClaimedJob, error: BaseException) -> Verdict:
    """The handler raised."""
    if _is_for_another_release(job, error):
        return _verdict(job, "parked", Ending.PARK, totals=("parked",), state=JobState.QUEUED)
    if retry.is_known_outage(error) and (age_s := _age_s(job)) < retry.OUTAGE_FOR_S:
        verdict = _verdict(job, "postponed", Ending.POSTPONE, totals=("deferred",), state=JobState.QUEUED)
        return _later(verdict, retry.outage_delay(age_s))
    policy: RetryPolicy = job.arguments.retry
    match retry.decide(policy, error, job.attempt):
        case retry.Again(after):
            verdict = _verdict(
                job, "retried", Ending.RETRY, totals=("failed", "retried"), state=JobState.QUEUED
            )
            return _later(verdict, after)
        case retry.Dead("exhausted") if job.arguments.repeated and isinstance(error, retry.TRANSIENT):
            return _dropped(job, error)
        case retry.Dead(reason):
            return buried(job, error, reason)


def buried(job: ClaimedJob, error: BaseException, reason: str) -> Verdict:
    """The verdict on a job that an exception has killed."""
    letter = _letter(job.lane, job.claim, job.stored, reason, "").caused_by(error)
    verdict = _verdict(job, "dead", Ending.REMOVE, totals=("failed", "dead"), state=JobState.FAILED)
    return replace(verdict, finish=replace(verdict.finish, error=shown(letter.error)), letter=letter)


def quarantined(lane: str, claim: Claim, error: BaseException) -> Verdict:
    """The engine itself failed at this job and would fail again: it is kept unchanged for an operator."""
    found = _dead(lane, claim, None, "quarantined", f"{type(error).__name__}: the engine failed at this job")
    return replace(found, letter=found.letter and found.letter.caused_by(error))


def shown(error: str) -> str:
    """The text of an error in a job's progress."""
    return without_parameters(error)[:LONGEST_ERROR].encode(errors="replace").decode()


def _is_for_another_release(job: ClaimedJob, error: BaseException) -> bool:
    # If two releases run together, the other one may know it (RACES 30). A wrong id is wrong in both.
    unknown = isinstance(error, UnknownView | UnknownScope) and error.field != "id"
    return unknown and _age_s(job) < PARKED_FOR_S


def _age_s(job: ClaimedJob) -> float:
    return time.time() - job.stored.enqueued_ms / 1000


def _later(verdict: Verdict, after: timedelta) -> Verdict:
    return replace(verdict, finish=replace(verdict.finish, delay_s=after.total_seconds()))


def _dropped(job: ClaimedJob, error: BaseException) -> Verdict:
    """It has failed for good, but the next job of its kind does its work, so it leaves no dead letter."""
    verdict = _verdict(job, "dropped", Ending.REMOVE, totals=("failed", "dropped"), state=JobState.FAILED)
    said = shown(f"{type(error).__name__}: {error}")
    return replace(verdict, finish=replace(verdict.finish, error=said))


def _verdict(
    job: ClaimedJob,
    outcome: str,
    ending: Ending,
    *,
    totals: tuple[str, ...] = (),
    state: JobState | None = None,
) -> Verdict:
    told = state if job.arguments.followed and state is not None else ""
    end = Finish(
        job.lane,
        job.claim.job_id,
        ending,
        flag=job.stored.flag,
        totals=totals,
        state=told,
        fair=job.stored.fair,
        run=job.attempt,
    )
    return Verdict(job.stored.kind, outcome, end)


def _parsed(
    lane: str, claim: Claim, stored: wire.Stored, job_types: Mapping[str, type[Job]]
) -> ClaimedJob | Verdict:
    try:
        arguments = parse(stored.kind, stored.payload, job_types)
    except InvalidJob as error:
        return _dead(lane, claim, stored, "undecodable", str(error))
    return ClaimedJob(lane, claim, stored, arguments, max(claim.failed_runs + 1, stored.first_try))


def _aborted(lane: str, claim: Claim) -> Verdict:
    """A stock arq client has aborted it before it ran."""
    kind, flag, fair = UNKNOWN, "", ""
    with suppress(InvalidJob):
        stored = wire.decode(claim.payload or b"")
        kind, flag, fair = stored.kind, stored.flag, stored.fair
    end = Finish(
        lane,
        claim.job_id,
        Ending.REMOVE,
        flag=flag,
        totals=("cancelled",),
        state=JobState.CANCELLED,
        fair=fair,
    )
    return Verdict(kind, "cancelled", end)


def _dead(lane: str, claim: Claim, stored: wire.Stored | None, reason: str, error: str) -> Verdict:
    letter = _letter(lane, claim, stored, reason, error)
    end = Finish(
        lane,
        claim.job_id,
        Ending.REMOVE,
        flag=stored.flag if stored else "",
        totals=("dead",),
        state=JobState.FAILED,
        error=shown(error),
        fair=stored.fair if stored else "",
    )
    return Verdict(letter.kind, "dead", end, letter)


def _letter(lane: str, claim: Claim, stored: wire.Stored | None, reason: str, error: str) -> Letter:
    kind = stored.kind if stored else UNKNOWN
    payload: Any = stored.payload if stored else None
    return Letter(
        job_id=claim.job_id,
        lane=lane,
        reason=reason,
        attempts=claim.failed_runs + (1 if not error else 0),
        error=error,
        fingerprint=fingerprint(kind, reason, normalised(error)),
        kind=kind,
        payload=payload,
        raw=None if stored else claim.payload,
        enqueued_ms=stored.enqueued_ms if stored else 0,
    )
