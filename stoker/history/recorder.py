"""Records the jobs of this process, as an observer of the engine and a wrapper around its `run`.

The engine reports when a job starts and ends, and `run` knows which job it is. Both happen in one task, so a
context variable connects them. Recording costs an append; memory is bounded while Postgres is away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stoker.domain import Domain
from stoker.errors import Defer
from stoker.history.job_rows import JobRow
from stoker.jobs import Job
from stoker.postgres.errors import without_parameters
from stoker.worker.engine.letter import stored_name
from stoker.worker.engine.parts import Run

FAILED = frozenset({"retried", "dead", "dropped"})
"""Not `postponed`: during an outage every job would push older failures out."""
WELL_KEPT = 100
"""Successful runs of one kind in one batch: the newest ones."""
FAILURES_KEPT = 5_000
"""Failures that wait for Postgres at most; the oldest are dropped."""
ERROR_CHARACTERS = 2_000

_running: ContextVar[Note | None] = ContextVar("stoker_run", default=None)


@dataclass
class Note:
    """One run while it lasts."""

    lane: str
    kind: str
    waited_s: float
    job_id: str | None = None
    job: Job | None = None
    attempt: int = 1
    error: BaseException | None = None


@dataclass
class Batch:
    """What has ended since the last batch."""

    well: dict[str, deque[JobRow]] = field(default_factory=dict)
    failures: deque[JobRow] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))

    def add(self, row: JobRow) -> None:
        """Keep a run."""
        if row.failed:
            self.failures.append(row)
        else:
            self.well.setdefault(row.kind, deque(maxlen=WELL_KEPT)).append(row)

    def rows(self) -> list[JobRow]:
        """All of them, in the order in which they ended."""
        found = [*self.failures, *(row for rows in self.well.values() for row in rows)]
        return sorted(found, key=lambda row: row.ended_at)


class Recorder:
    """Runs of this process's jobs."""

    def __init__(self, domain: Domain, worker: str) -> None:
        self._domain = domain
        self._worker = worker
        self._batch = Batch()

    def job_started(self, lane: str, kind: str, waited_s: float) -> None:
        """A job begins, in the task that will report its end."""
        _running.set(Note(lane, kind, waited_s))

    def job_ended(self, lane: str, kind: str, outcome: str, ran_s: float) -> None:
        """A job ended; one that could not be read never began. A parked one waits, and is no run at all."""
        if outcome != "parked":
            self._batch.add(self._row(_running.get() or Note(lane, kind, 0.0), outcome, ran_s))

    def around(self, run: Run) -> Run:
        """Wrap `run` so that its jobs are recorded."""

        async def noted(job_id: str, job: Job, attempt: int) -> str:
            note = _running.get()
            if note is not None:
                note.job_id, note.job, note.attempt = job_id, job, attempt
            try:
                return await run(job_id, job, attempt)
            except Defer:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if note is not None:
                    note.error = error
                raise

        return noted

    def take(self) -> list[JobRow]:
        """What has ended since the last call."""
        batch, self._batch = self._batch, Batch()
        return batch.rows()

    def give_back(self, rows: list[JobRow]) -> None:
        """Keep runs that could not be written, as far as there is room."""
        later = self._batch.rows()
        self._batch = Batch()
        for row in [*rows, *later]:
            self._batch.add(row)

    def _row(self, note: Note, outcome: str, ran_s: float) -> JobRow:
        failed = outcome in FAILED
        return JobRow(
            job_id=None if note.job_id is None else stored_name(note.job_id),
            lane=note.lane,
            kind=note.kind,
            outcome=outcome,
            failed=failed,
            attempt=note.attempt,
            scope=self._domain.subject_of(note.job),
            arguments=None if note.job is None else note.job.model_dump(mode="json"),
            error=_said(note, ran_s) if failed or outcome == "postponed" else None,
            waited_s=note.waited_s,
            ran_s=ran_s,
            ended_at=datetime.now(UTC),
            worker=self._worker,
        )


def _said(note: Note, ran_s: float) -> str:
    if note.job is None:
        return "it could not be read or run; its dead letter says why"
    if note.error is None or isinstance(note.error, asyncio.CancelledError):
        return f"TimeoutError: it ran for {ran_s:.1f} s"
    return f"{type(note.error).__name__}: {without_parameters(str(note.error))}"[:ERROR_CHARACTERS]
