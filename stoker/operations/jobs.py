"""Jobs: list those in the queue and ended runs; show, enqueue and cancel a job.

Ended runs come from their history in Postgres, waiting jobs from the queue, a bounded number of either.
Raises QueueUnavailable or DatabaseUnavailable.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field

from stoker.cache.view import LARGEST_ID
from stoker.errors import BadRequest, InvalidJob, NotFound, UnknownJob
from stoker.history.job_rows import Filter, JobHistory, KeptRow
from stoker.jobs import Job, Lane, parse
from stoker.operations import batches
from stoker.operations.audit import Actor, act, enqueue_audited
from stoker.operations.batches import BatchShown
from stoker.operations.dead import DeadJob, shown
from stoker.operations.live_jobs import LiveJob, LiveState, Search, live_job, live_jobs
from stoker.operations.results import ResultShown, result_of
from stoker.operations.texts import Text64, Text128, one_line
from stoker.queue import wire
from stoker.queue.answers import Answer, CancelAnswer
from stoker.queue.progress import JobState, ProgressReport
from stoker.stoker import Stoker
from stoker.worker.engine.dead_letters import DeadLetter, DeadLetters, Which
from stoker.worker.engine.letter import UNKNOWN

RUNS_OF_ONE = 50


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
"""For each state of a run: whether the run failed, and with which outcome."""


class Part(StrEnum):
    """Half of a listing: each depends on one server, and is answered while the other one is silent."""

    QUEUE = "queue"
    HISTORY = "history"


class EndedJob(BaseModel):
    """A run of a job, ended. `outcome` is what its handler returned, or `retried`, `dead`, `deferred`."""

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
    worker: str
    view: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> str | None:
        """The error in one line."""
        return None if self.error is None else one_line(self.error)

    @classmethod
    def of(cls, row: KeptRow) -> EndedJob:
        """A row as a run, without its arguments."""
        state = Ended.DONE
        if row.failed:
            state = Ended.DEAD if row.outcome == "dead" else Ended.FAILED
        shown = {name: getattr(row, name) for name in cls.model_fields if name != "state"}
        return cls(state=state, **shown)


class JobList(BaseModel):
    """Jobs in the queue, and runs that ended, the latest first.

    Of the `live_of` jobs in the queue, in these lanes and states, the first `live_searched` were searched:
    the next page is `skip` that many. `ended_of` runs match that are kept; next page: `before` the last.
    A part that was not asked for is empty.
    """

    live: list[LiveJob]
    live_searched: int = 0
    live_of: int = 0
    ended: list[EndedJob]
    ended_of: int = 0


class DeadEnd(DeadJob):
    """Why a job will not run again."""

    traceback: str | None


class JobDetail(BaseModel):
    """One job: where it stands, every run of it that is still known, its arguments and result for operators.

    `batch`: of which it is a member, or which it follows. `progress`: what it has reported within a day.
    `result`: what its handler returned, or why there is none; null for Stoker's own jobs and unknown kinds.
    """

    job_id: str
    lane: str
    kind: str
    scope: str | None
    live: LiveJob | None
    batch: BatchShown | None = None
    progress: ProgressReport | None = None
    result: ResultShown | None = None
    runs: list[EndedJob]
    dead: DeadEnd | None
    arguments: Any = None
    arguments_hidden: bool


class Cancelled(BaseModel):
    """The result of a request to cancel. `cancelling`: its worker ends the job within a second."""

    job_id: str
    answer: CancelAnswer


class Asked(BaseModel):
    """What came of a request for a job: `job_id` is the job that does the work."""

    job_id: str
    kind: str
    lane: str
    answer: Answer


class WrongChoice(BadRequest):
    """A combination of filters that no job can match."""


class Choice(BaseModel):
    """Which jobs to list. `error` is part of a run's message. An empty text is the same as none.

    `part`: only those in the queue, or only runs that ended.
    """

    model_config = ConfigDict(extra="forbid")
    part: Part | None = None
    state: LiveState | Ended | None = None
    lane: Lane | None = None
    kind: Text64 | None = None
    scope: Text128 | None = None
    error: Text128 | None = None
    limit: int = Field(default=50, ge=1, le=200)
    before: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    skip: int = Field(default=0, ge=0, le=LARGEST_ID, description="Jobs in the queue that were searched.")

    def filter(self) -> Filter:
        """The same filters for runs that ended."""
        failed, outcome = FILTERS.get(self.state, (None, None))
        return Filter(
            lane=self.lane,
            kind=self.kind or None,
            scope=self.scope or None,
            error=self.error or None,
            failed=failed,
            outcome=outcome,
        )


async def listing(stoker: Stoker, asked: Choice) -> JobList:
    """The jobs that match. Without a state: running and ended jobs; with an error: only ended ones."""
    if asked.error and isinstance(asked.state, LiveState):
        raise WrongChoice(
            f"a job that is {asked.state} has no error yet: give either a state or an error", field="error"
        )
    found = JobList(live=[], ended=[])
    waiting = asked.before is None and not asked.error and not isinstance(asked.state, Ended)
    if waiting and asked.part is not Part.HISTORY:
        states = [asked.state] if isinstance(asked.state, LiveState) else [LiveState.RUNNING]
        lanes = [asked.lane] if asked.lane else list(stoker.queue.lanes)
        search = Search(lanes, states, asked.limit, asked.skip, asked.kind, asked.scope)
        live = await live_jobs(stoker, search)
        found.live, found.live_searched, found.live_of = live.jobs, live.searched, live.of
    if not isinstance(asked.state, LiveState) and asked.part is not Part.QUEUE:
        history = JobHistory(stoker.engine)
        rows = await history.list(asked.filter(), limit=asked.limit, before=asked.before)
        found.ended = [EndedJob.of(row) for row in rows]
        found.ended_of = await history.count(asked.filter())
    return found


async def detail(stoker: Stoker, job_id: str, *, whole: bool = True) -> JobDetail:
    """One job, with arguments, result and traceback only if `whole`. Raises NotFound."""
    live = await live_job(stoker, job_id)
    rows = await JobHistory(stoker.engine).list(Filter(job_id=job_id), limit=RUNS_OF_ONE, arguments=whole)
    letter = next(iter(await DeadLetters(stoker.engine).list(Which(job_id=job_id), limit=1)), None)
    known = (live[0] if live else None) or (rows[0] if rows else None) or letter
    kind = None if known is None else stoker.domain.job_types.get(known.kind)
    result = await result_of(stoker, job_id, kind, rows, waits=live is not None, whole=whole)
    report = await stoker.progress(job_id)
    if known is None and report is not None and report.state is JobState.CANCELLED:
        raise NotFound(f"job {job_id} was cancelled; nothing else of it is kept")
    if known is None and result is None:
        raise NotFound(f"there is no job {job_id!r}: the id is wrong, or the job ended too long ago")
    given = [live[1] if live else None, *(row.arguments for row in rows), letter and letter.payload]
    return JobDetail(
        job_id=job_id,
        lane=known.lane if known else UNKNOWN,
        kind=known.kind if known else UNKNOWN,
        scope=live[0].scope if live else next((row.scope for row in rows), None),
        live=live[0] if live else None,
        batch=await batches.of_job(stoker, job_id),
        progress=report,
        result=result,
        runs=[EndedJob.of(row) for row in rows],
        dead=None if letter is None else _dead_end(stoker, letter, whole=whole),
        arguments=next((one for one in given if one is not None), None) if whole else None,
        arguments_hidden=not whole,
    )


async def enqueue(
    stoker: Stoker,
    actor: Actor,
    kind: str,
    arguments: Any,  # noqa: ANN401 - JSON, to be checked
    delay_s: float = 0,
) -> Asked:
    """Ask for a job of a kind that the domain handles; raises BadRequest for one that could not run.

    The audit row has the kind and the job's id, and no arguments: not everybody who reads it may see them.
    """
    job = _job(stoker, kind, arguments)
    asked = await enqueue_audited(
        stoker, actor, "job.enqueue", {"kind": kind}, job, timedelta(seconds=delay_s)
    )
    return Asked(job_id=asked.job_id, kind=kind, lane=str(job.lane), answer=asked.answer)


async def cancel(stoker: Stoker, actor: Actor, job_id: str) -> Cancelled:
    """End a waiting or running job for good."""
    await act(stoker, actor, "job.cancel", {"job_id": job_id})
    return Cancelled(job_id=job_id, answer=await stoker.cancel(job_id))


def _job(stoker: Stoker, kind: str, arguments: Any) -> Job:  # noqa: ANN401 - the same
    try:
        job = parse(kind, arguments, stoker.domain.job_types)
        stoker.domain.check_job(job)
        wire.encode(job, 0)
    except UnknownJob:
        known = ", ".join(sorted(stoker.domain.job_types))
        raise BadRequest(f"no job {kind!r:.66}; there are: {known}", field="kind") from None
    except InvalidJob as error:
        raise BadRequest(str(error), field="arguments") from None
    return job


def _dead_end(stoker: Stoker, letter: DeadLetter, *, whole: bool) -> DeadEnd:
    told = shown(stoker, letter).model_dump(include=set(DeadJob.model_fields))
    return DeadEnd(**told, traceback=letter.traceback if whole else None)
