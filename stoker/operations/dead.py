"""Dead letters: jobs that will not run again by themselves, one by one or by cause; retry or discard them.

Listings show no payload and no traceback; `jobs.detail` has those of one job. Raises DatabaseUnavailable, and
where jobs are enqueued QueueUnavailable.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select, text, true

from stoker.cache.view import LARGEST_ID
from stoker.errors import NotFound
from stoker.operations.audit import Actor, act
from stoker.operations.texts import Text64
from stoker.postgres import fetched
from stoker.stoker import Stoker
from stoker.tables import dead_jobs
from stoker.worker.engine.dead_letters import DeadLetters, Retried, Which

FINGERPRINT = r"^[0-9a-f]{1,32}$"
CAUSES = text(
    "SELECT cause.*, newest.lane, newest.kind, newest.reason, newest.error FROM ("
    "SELECT fingerprint, count(*) AS letters, min(died_at) AS first_died_at, max(died_at) AS last_died_at"
    " FROM stoker.dead_jobs GROUP BY fingerprint ORDER BY last_died_at DESC LIMIT :limit) AS cause"
    " CROSS JOIN LATERAL (SELECT lane, kind, reason, error FROM stoker.dead_jobs"
    " WHERE fingerprint = cause.fingerprint ORDER BY died_at DESC LIMIT 1) AS newest"
    " ORDER BY last_died_at DESC"
)


class DeadJob(BaseModel):
    """A job that will not run again by itself; without its payload."""

    id: int
    job_id: str
    lane: str
    kind: str
    reason: str
    error: str
    fingerprint: str
    attempts: int
    died_at: datetime


class DeadJobs(BaseModel):
    """A page of dead jobs, the latest first. The next page is `before` the last id."""

    dead: list[DeadJob]


class DeadGroup(BaseModel):
    """Dead letters of one fingerprint, most likely of one cause. The other fields are those of the newest."""

    fingerprint: str
    letters: int
    lane: str
    kind: str
    reason: str
    error: str
    first_died_at: datetime
    last_died_at: datetime


class DeadGroups(BaseModel):
    """Dead letters by cause, the latest first."""

    groups: list[DeadGroup]


class WhichDead(BaseModel):
    """Which dead letters: one of the fields, or `all`."""

    model_config = ConfigDict(extra="forbid")
    id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    kind: Text64 | None = None
    fingerprint: str | None = Field(default=None, pattern=FINGERPRINT)
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
        return Which(**self.model_dump(exclude={"all"}))


class Discarded(BaseModel):
    """How many letters were retried or discarded."""

    discarded: int


async def listing(
    stoker: Stoker, limit: int, before: int | None = None, fingerprint: str | None = None
) -> DeadJobs:
    """Dead jobs, the latest first; `before` is the id at which the last page ended."""
    columns = [dead_jobs.c[name] for name in DeadJob.model_fields]
    older = true() if before is None else dead_jobs.c.id < before
    chosen = Which(fingerprint=fingerprint).clause() & older
    query = select(*columns).where(chosen).order_by(dead_jobs.c.id.desc()).limit(limit)
    return DeadJobs(dead=[DeadJob(**row) for row in await fetched(stoker.engine, query)])


async def causes(stoker: Stoker, limit: int) -> DeadGroups:
    """Dead jobs grouped by cause; the counts come from an index."""
    rows = await fetched(stoker.engine, CAUSES, {"limit": limit})
    return DeadGroups(groups=[DeadGroup(**row) for row in rows])


async def job_of(stoker: Stoker, letter: int) -> str:
    """The id of the job that a letter is of; raises NotFound."""
    kept = await DeadLetters(stoker.engine).list(Which(id=letter), limit=1)
    if not kept:
        raise NotFound(f"there is no dead letter {letter}: `stoker dead list` shows those there are")
    return kept[0].job_id


async def count(stoker: Stoker, which: WhichDead) -> int:
    """How many letters a choice matches."""
    return await DeadLetters(stoker.engine).count(which.which())


async def retry(stoker: Stoker, actor: Actor, which: WhichDead) -> Retried:
    """Put dead letters back into their lanes, as new jobs."""
    await act(stoker, actor, "dead.retry", _named(which))
    return await DeadLetters(stoker.engine).retry(which.which(), stoker.queue, stoker.domain.job_types)


async def discard(stoker: Stoker, actor: Actor, which: WhichDead) -> Discarded:
    """Delete dead letters for good."""
    await act(stoker, actor, "dead.discard", _named(which))
    return Discarded(discarded=await DeadLetters(stoker.engine).discard(which.which()))


def _named(which: WhichDead) -> dict[str, object]:
    return which.model_dump(exclude={"all"}, exclude_none=True)
