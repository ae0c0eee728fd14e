"""Routes under /api/jobs: lanes, jobs that wait and jobs that ended, one job, dead letters.

Ended jobs are listed from their history in Postgres, waiting ones from the queue, a bounded number of either.
Viewers see keys and metadata; arguments and tracebacks only operators.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.cache.view import LARGEST_ID
from jobs.contracts import Lane
from jobs.enqueue import CancelAnswer
from jobs.errors import NotFound
from worker.api.access import Operator, Reader, Viewer
from worker.api.context import OpenStoker
from worker.engine.dead_letters import Which
from worker.history.job_rows import Filter, JobHistory, KeptRow
from worker.operations import listings, steering
from worker.operations.figures import DeadJob, LaneFigures, dead_list, lane_figures
from worker.operations.listings import DeadGroup, LiveJob, LiveState
from worker.settings import Role

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

RUNS_OF_ONE = 50
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]


class Queues(BaseModel):
    """Every lane, by name."""

    lanes: dict[str, LaneFigures]


class DeadJobs(BaseModel):
    """A page of dead jobs, the latest first; ask for what is `before` the last id for the next page."""

    dead: list[DeadJob]


class DeadGroups(BaseModel):
    """Dead letters by cause, the latest first."""

    groups: list[DeadGroup]


class Ended(StrEnum):
    """How a run of a job ended. `failed`: it raised and was retried; `dead`: it will not run again."""

    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"


FILTERS: dict[LiveState | Ended | None, tuple[bool, str | None]] = {
    Ended.DONE: (False, None),
    Ended.FAILED: (True, "retried"),
    Ended.DEAD: (True, "dead"),
}
"""Of runs: whether they failed, and with which outcome."""


class EndedJob(BaseModel):
    """A run of a job, ended. `outcome` is what its task returned, or `retried`, `dead`, `deferred`."""

    id: int
    job_id: str | None
    lane: str
    kind: str
    state: Ended
    outcome: str
    attempt: int
    scope: str | None
    error: str | None
    waited_s: float
    ran_s: float
    ended_at: datetime

    @classmethod
    def of(cls, row: KeptRow) -> EndedJob:
        """The run of a row, without its arguments."""
        state = Ended.DONE
        if row.failed:
            state = Ended.DEAD if row.outcome == "dead" else Ended.FAILED
        shown = {name: getattr(row, name) for name in cls.model_fields if name != "state"}
        return cls(state=state, **shown)


class JobList(BaseModel):
    """Jobs in the queue, and runs that ended, the latest first. Next page: `before` the last id."""

    live: list[LiveJob]
    ended: list[EndedJob]


class DeadEnd(BaseModel):
    """Why a job will not run again."""

    id: int
    reason: str
    error: str
    fingerprint: str
    attempts: int
    died_at: datetime
    traceback: str | None


class Job(BaseModel):
    """One job: where it stands, every run of it that is still known, its arguments for operators."""

    job_id: str
    lane: str
    kind: str
    scope: str | None
    live: LiveJob | None
    runs: list[EndedJob]
    dead: DeadEnd | None
    arguments: Any = None
    arguments_hidden: bool


class Choice(BaseModel):
    """Which jobs; `error` is a part of the message. Empty is the same as absent."""

    model_config = ConfigDict(extra="forbid")
    state: LiveState | Ended | None = None
    lane: Lane | None = None
    kind: str | None = Field(default=None, max_length=64)
    scope: str | None = Field(default=None, max_length=128)
    error: str | None = Field(default=None, max_length=128)
    limit: int = Field(default=50, ge=1, le=200)
    before: int | None = Field(default=None, ge=1, le=LARGEST_ID)

    def fits(self, job: LiveJob) -> bool:
        """Whether a job in the queue is one of them."""
        return (not self.kind or job.kind == self.kind) and (not self.scope or job.scope == self.scope)

    def filter(self) -> Filter:
        """The choice among runs that ended."""
        failed, outcome = FILTERS.get(self.state, (None, None))
        return Filter(
            lane=self.lane,
            kind=self.kind or None,
            scope=self.scope or None,
            error=self.error or None,
            failed=failed,
            outcome=outcome,
        )


class WhichDead(BaseModel):
    """Which dead letters: one of the fields, or `all`."""

    model_config = ConfigDict(extra="forbid")
    id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    kind: str | None = Field(default=None, max_length=64)
    fingerprint: Fingerprint | None = None
    all: bool = False

    @model_validator(mode="after")
    def _something(self) -> WhichDead:
        given = [self.id, self.kind, self.fingerprint]
        if self.all == any(one is not None for one in given):
            msg = "give id, kind or fingerprint, or all: true"
            raise ValueError(msg)
        return self

    def which(self) -> Which:
        """The choice as the engine takes it."""
        return Which(id=self.id, kind=self.kind, fingerprint=self.fingerprint)


class Retried(BaseModel):
    """How many jobs are back in their lanes, and how many letters this release cannot read."""

    retried: int
    unreadable: int


class Discarded(BaseModel):
    """How many letters are gone."""

    discarded: int


class LanePause(BaseModel):
    """A lane, and whether workers begin its jobs."""

    lane: Lane
    paused: bool


class LaneSlots(BaseModel):
    """Jobs at once in each worker; null: as each worker's settings say."""

    model_config = ConfigDict(extra="forbid")
    slots: int | None = Field(ge=1, le=1000)


class LaneSlotsSet(LaneSlots):
    """A lane, and the slots that every worker gives it."""

    lane: Lane


class Cancelled(BaseModel):
    """What became of the wish: `cancelling` means that its worker ends it within a second."""

    job_id: str
    answer: CancelAnswer


@router.get("/queues")
async def queues(_: Viewer, stoker: OpenStoker) -> Queues:
    """Ready, deferred, running, parked and dead jobs, and the oldest ready one's age, for each lane."""
    return Queues(lanes=await lane_figures(stoker))


@router.post("/lanes/{lane}/pause")
async def pause(lane: Lane, operator: Operator, stoker: OpenStoker) -> LanePause:
    """Let no worker begin a job of the lane; running ones go on. Recorded events are applied all the same."""
    await steering.pause_lane(stoker, operator.actor, lane)
    return LanePause(lane=lane, paused=True)


@router.post("/lanes/{lane}/resume")
async def resume(lane: Lane, operator: Operator, stoker: OpenStoker) -> LanePause:
    """End a pause; workers notice at once."""
    await steering.resume_lane(stoker, operator.actor, lane)
    return LanePause(lane=lane, paused=False)


@router.put("/lanes/{lane}/slots")
async def set_slots(lane: Lane, asked: LaneSlots, operator: Operator, stoker: OpenStoker) -> LaneSlotsSet:
    """How many jobs of the lane run at once in each worker process; in effect within two seconds."""
    await steering.set_slots(stoker, operator.actor, lane, asked.slots)
    return LaneSlotsSet(lane=lane, slots=asked.slots)


@router.get("/dead")
async def dead(
    _: Viewer,
    stoker: OpenStoker,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
    fingerprint: Annotated[str | None, Query(pattern=r"^[0-9a-f]{1,32}$")] = None,
) -> DeadJobs:
    """Jobs that will not run again by themselves."""
    return DeadJobs(dead=await dead_list(stoker, limit, before, fingerprint))


@router.get("/dead/groups")
async def dead_groups(
    _: Viewer, stoker: OpenStoker, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> DeadGroups:
    """The same by cause: what died alike has one fingerprint."""
    return DeadGroups(groups=await listings.dead_groups(stoker, limit))


@router.post("/dead/retry")
async def retry(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> Retried:
    """Put jobs back into their lanes, as new jobs."""
    found = await steering.retry_dead(stoker, operator.actor, asked.which())
    return Retried(retried=found.enqueued, unreadable=found.unreadable)


@router.post("/dead/discard")
async def discard(asked: WhichDead, operator: Operator, stoker: OpenStoker) -> Discarded:
    """Delete dead letters for good."""
    return Discarded(discarded=await steering.discard_dead(stoker, operator.actor, asked.which()))


@router.get("")
async def jobs(_: Viewer, stoker: OpenStoker, asked: Annotated[Choice, Query()]) -> JobList:
    """Jobs by any of these. Without a state: what runs now, and what ended."""
    found = JobList(live=[], ended=[])
    if asked.before is None and not asked.error and not isinstance(asked.state, Ended):
        states = [LiveState.RUNNING] if asked.state is None else [asked.state]
        lanes = [asked.lane] if asked.lane else list(Lane)
        live = await listings.live_jobs(stoker, lanes, states, asked.limit)
        found.live = [job for job in live if asked.fits(job)][: asked.limit]
    if not isinstance(asked.state, LiveState):
        history = JobHistory(stoker.engine)
        rows = await history.list(asked.filter(), limit=asked.limit, before=asked.before)
        found.ended = [EndedJob.of(row) for row in rows]
    return found


@router.get("/{job_id}")
async def job(
    job_id: Annotated[str, Path(min_length=1, max_length=64)], reader: Viewer, stoker: OpenStoker
) -> Job:
    """One job: where it stands, its runs, and why it died."""
    live = await listings.live_job(stoker, job_id)
    rows = await JobHistory(stoker.engine).list(Filter(job_id=job_id), limit=RUNS_OF_ONE)
    letter = await listings.dead_letter(stoker, job_id)
    known = (live[0] if live else None) or (rows[0] if rows else None) or letter
    if known is None:
        raise NotFound(f"nothing is known of job {job_id!r} (any more)")
    arguments = live[1] if live else None
    if arguments is None:
        arguments = next((row.arguments for row in rows if row.arguments is not None), None)
    if arguments is None and letter is not None:
        arguments = letter.payload
    acts = _acts(reader)
    return Job(
        job_id=job_id,
        lane=known.lane,
        kind=known.kind,
        scope=live[0].scope if live else next((row.scope for row in rows), None),
        live=live[0] if live else None,
        runs=[EndedJob.of(row) for row in rows],
        dead=None
        if letter is None
        else DeadEnd(
            **{
                name: getattr(letter, name) if name != "traceback" or acts else None
                for name in DeadEnd.model_fields
            }
        ),
        arguments=arguments if acts else None,
        arguments_hidden=not acts,
    )


@router.post("/{job_id}/cancel")
async def cancel(
    job_id: Annotated[str, Path(min_length=1, max_length=64)], operator: Operator, stoker: OpenStoker
) -> Cancelled:
    """End a waiting or running job for good; one that has ended is `not_found`."""
    return Cancelled(job_id=job_id, answer=await steering.cancel(stoker, operator.actor, job_id))


def _acts(reader: Reader) -> bool:
    return reader.role is Role.OPERATOR
