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
    """One thing that needs attention. `about`: servers, right, warm or worker."""

    verdict: Verdict
    about: str
    says: str


class ViewNow(ViewReads):
    """One view over the last hour."""

    reads_ever: int


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
    """All parts. `says` is the summary; `last` has numbers that change when there is news to load."""

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
    lanes: dict[str, LaneNow] | None = None
    workers: list[WorkerSeen] | None = None
    served: list[str] | None = None
    """Lanes whose jobs a living worker runs."""
    prediction: PredictionNow | None = None
    last: dict[str, float] = {}
