"""The parts of the overview: one model for each part of the page, and the verdict over all of them.

Nothing here asks a server. A part that could not be read is None.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel

from stoker.operations.batches import BatchShown
from stoker.operations.figures import VerifiedFigures, ViewReads
from stoker.operations.health import Health
from stoker.operations.lanes import LaneFigures
from stoker.operations.prediction import PredictionNow
from stoker.outbox.rows import Backlog
from stoker.outbox.undelivered import Undelivered


class Verdict(StrEnum):
    """The verdict over all parts."""

    WELL = "well"
    UNTRIED = "untried"
    """Nothing is wrong, but too few entries were read or compared to say that all is well."""
    WATCH = "watch"
    """Something needs attention."""
    WRONG = "wrong"
    """Something is broken, or is about to be."""


class Concern(BaseModel):
    """One thing that needs attention. `about`: users, servers, right, warm or worker."""

    verdict: Verdict
    about: str
    says: str


class ViewNow(ViewReads):
    """One view over the last hour. `cold_below`: the hit rate below which it is called cold, if set."""

    reads_ever: int
    cold_below: float | None = None


class Answered(BaseModel):
    """What the readers of a view got in the last five minutes; refusals (403, 404) do not count.

    `errors` of the `reads` failed, `stale` were answered with an outdated value because the loader failed,
    `bypass` went to SQL past the cache. `load_errors` are builds that failed, in the background too. Times
    are None without reads; above `slow_from_s` they are called slow.
    """

    reads: int
    errors: int
    stale: int
    bypass: int
    load_errors: int
    p50_s: float | None
    p99_s: float | None
    slow_from_s: float


class MemoryNow(BaseModel):
    """The memory of a Redis. `limit_bytes` is None without a limit, and `full` means that it is reached.

    `evicted` and `expired` are keys that it has removed since it was started: to make room, and because
    their time had passed. `evicted_per_s` is over the last five minutes; None while that is not known.
    """

    used_bytes: int
    limit_bytes: int | None
    policy: str
    full: bool
    evicts: bool
    evicted: int
    expired: int
    evicted_per_s: float | None


class LaneNow(LaneFigures):
    """One lane now; rates and waits over the last five minutes, waits None without jobs.

    Rates are None while Postgres, which keeps the figures of the last minutes, does not answer.
    """

    done_per_minute: float | None
    failed_per_minute: float | None
    wait_p50_s: float | None
    wait_p99_s: float | None


class WorkerSeen(BaseModel):
    """A worker process that did not sign off, and the seconds since its last report."""

    name: str
    silent_s: float
    gone: bool


class Overview(BaseModel):
    """All parts. `says` is the worst fact; `last` has numbers that change when there is news to load.

    `concerns` begins with that fact, unless there is none.
    """

    at: datetime
    verdict: Verdict = Verdict.UNTRIED
    says: str = ""
    concerns: list[Concern] = []
    health: Health
    missing: dict[str, str] = {}
    """Why a part is not known: the part's name, and a sentence. `rates`: figures of the last hour."""
    changes: Backlog | None = None
    requests: Undelivered | None = None
    batches: list[BatchShown] | None = None
    """Those that are open."""
    verified: VerifiedFigures | None = None
    findings: int | None = None
    """Entries that the verifier found stale, and that nobody has acknowledged."""
    hit_rate: float | None = None
    views: dict[str, ViewNow] | None = None
    memory: dict[str, MemoryNow] = {}
    """Of each Redis that says it: cache, queue."""
    answered: dict[str, Answered] | None = None
    """What readers got, by view."""
    lanes: dict[str, LaneNow] | None = None
    dead_lately: int | None = None
    """Dead letters of the last day."""
    workers: list[WorkerSeen] | None = None
    served: list[str] | None = None
    """Lanes whose jobs a living worker runs."""
    prediction: PredictionNow | None = None
    last: dict[str, float] = {}
