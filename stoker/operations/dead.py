"""Dead letters: jobs that will not run again by themselves, one by one or by cause; retry or discard them.

Listings show no payload and no traceback; `jobs.detail` has those of one job. Raises DatabaseUnavailable, and
where jobs are enqueued QueueUnavailable.
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator, model_validator
from sqlalchemy import func, select, true

from stoker.cache.view import LARGEST_ID
from stoker.errors import InvalidJob, NotFound
from stoker.jobs import Refresh, parse
from stoker.operations.audit import Actor, act
from stoker.operations.moments import Moment
from stoker.operations.texts import Text64, Text128, one_line
from stoker.postgres import fetched
from stoker.stoker import Stoker
from stoker.tables import dead_jobs
from stoker.worker.engine.dead_letters import DeadLetter, DeadLetters, Retried, Which

FINGERPRINT = r"^[0-9a-f]{32}$"


class DeadJob(BaseModel):
    """A job that will not run again by itself; without its payload. `view`: of a refresh."""

    id: int
    job_id: str
    lane: str
    kind: str
    reason: str
    error: str
    fingerprint: str
    attempts: int
    died_at: datetime
    scope: str | None = None
    view: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> str:
        """The error in one line."""
        return one_line(self.error)


class DeadJobs(BaseModel):
    """A page of dead jobs, the latest first. The next page is `before` the last id.

    `matching`: how many there are that match the filter, on all pages; `of`: how many dead jobs there are.
    """

    dead: list[DeadJob]
    matching: int
    of: int


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

    @computed_field  # type: ignore[prop-decorator]
    @property
    def summary(self) -> str:
        """The error in one line."""
        return one_line(self.error)


class DeadGroups(BaseModel):
    """Dead letters by cause, the latest first."""

    groups: list[DeadGroup]


class DeadFilter(BaseModel):
    """Which dead letters: all that are given must match; an empty text is the same as none."""

    model_config = ConfigDict(extra="forbid")
    kind: Text64 | None = None
    fingerprint: str | None = Field(default=None, pattern=FINGERPRINT)
    view: Text64 | None = Field(default=None, description="Only refreshes of this view.")
    error: Text128 | None = Field(default=None, description="A part of the error's text.")
    since: Moment | None = Field(default=None, description="Only of jobs that died then or later.")

    @field_validator("*", mode="before")
    @classmethod
    def _none(cls, given: object) -> object:
        return None if given == "" else given

    def which(self) -> Which:
        """The choice as the engine takes it."""
        return Which(**self.model_dump(include={field.name for field in fields(Which)}))


class WhichDead(DeadFilter):
    """Which dead letters to act on: an id, a filter, or `all`.

    `up_to`: letters with a larger id are left alone; without it those that there are now are meant.
    """

    id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    up_to: int | None = Field(default=None, ge=0, le=LARGEST_ID)
    all: bool = False

    @model_validator(mode="after")
    def _something(self) -> WhichDead:
        if self.all == any(value is not None for value in self.model_dump(exclude={"all", "up_to"}).values()):
            msg = "give id, kind, fingerprint, view, error or since, or all: true"
            raise ValueError(msg)
        return self


class Matched(BaseModel):
    """How many dead letters match, of how many. `newest`: the largest id, for `up_to`."""

    letters: int
    of: int
    newest: int


class Ended(BaseModel):
    """`matched`: how many letters the choice had. `left`: how many dead letters there are now, in all."""

    matched: int
    left: int


class RetriedDead(Retried, Ended):
    """What came of a retry; `unreadable` letters stay, for this release cannot read them."""


class Discarded(Ended):
    """How many letters were discarded."""

    discarded: int


async def listing(stoker: Stoker, asked: DeadFilter, limit: int, before: int | None = None) -> DeadJobs:
    """Dead jobs that match, the latest first; `before` is the id at which the last page ended."""
    letters = DeadLetters(stoker.engine)
    found = await letters.list(asked.which(), limit=limit, before=before)
    number = await letters.count(asked.which())
    return DeadJobs(dead=[shown(stoker, one) for one in found], matching=number.letters, of=number.of)


def shown(stoker: Stoker, letter: DeadLetter) -> DeadJob:
    """A letter without its payload; what the job is about comes from there."""
    try:
        job = parse(letter.kind, letter.payload, stoker.domain.job_types)
    except InvalidJob:
        job = None
    return DeadJob(
        scope=stoker.domain.subject_of(job),
        view=job.view if isinstance(job, Refresh) else None,
        **{name: getattr(letter, name) for name in DeadJob.model_fields if name not in {"scope", "view"}},
    )


async def causes(stoker: Stoker, limit: int, asked: DeadFilter | None = None) -> DeadGroups:
    """Dead jobs that match, grouped by cause; without a filter the counts come from an index."""
    columns, matches = dead_jobs.c, (asked or DeadFilter()).which().clause()
    last = func.max(columns.died_at).label("last_died_at")
    cause = (
        select(
            columns.fingerprint,
            func.count().label("letters"),
            func.min(columns.died_at).label("first_died_at"),
            last,
        )
        .where(matches)
        .group_by(columns.fingerprint)
        .order_by(last.desc())
        .limit(limit)
        .subquery()
    )
    newest = (
        select(columns.lane, columns.kind, columns.reason, columns.error)
        .where(columns.fingerprint == cause.c.fingerprint, matches)
        .order_by(columns.died_at.desc())
        .limit(1)
        .lateral()
    )
    query = select(cause, newest).join(newest, true()).order_by(cause.c.last_died_at.desc())
    return DeadGroups(groups=[DeadGroup(**row) for row in await fetched(stoker.engine, query)])


async def job_of(stoker: Stoker, letter: int) -> str:
    """The id of the job that a letter is of; raises NotFound."""
    kept = await DeadLetters(stoker.engine).list(Which(id=letter), limit=1)
    if not kept:
        raise NotFound(f"there is no dead letter {letter}: `stoker dead list` shows those there are")
    return kept[0].job_id


async def count(stoker: Stoker, which: DeadFilter) -> Matched:
    """How many letters a choice matches, exactly."""
    found = await DeadLetters(stoker.engine).count(which.which())
    return Matched(letters=found.letters, of=found.of, newest=found.newest)


async def retry(stoker: Stoker, actor: Actor, which: WhichDead) -> RetriedDead:
    """Put dead letters back into their lanes, as new jobs."""
    letters = DeadLetters(stoker.engine)
    chosen, matched = await _chosen(letters, which)
    await act(stoker, actor, "dead.retry", _named(which, matched))
    found = await letters.retry(chosen, stoker.queue, stoker.domain.job_types)
    left = (await letters.count(Which())).of
    return RetriedDead(matched=matched, left=left, **found.model_dump())


async def discard(stoker: Stoker, actor: Actor, which: WhichDead) -> Discarded:
    """Delete dead letters for good."""
    letters = DeadLetters(stoker.engine)
    chosen, matched = await _chosen(letters, which)
    await act(stoker, actor, "dead.discard", _named(which, matched))
    discarded = await letters.discard(chosen)
    return Discarded(matched=matched, discarded=discarded, left=(await letters.count(Which())).of)


async def _chosen(letters: DeadLetters, which: WhichDead) -> tuple[Which, int]:
    """The choice, without letters that come from now on, and how many it has."""
    chosen = which.which()
    found = await letters.count(chosen)
    return (chosen if chosen.up_to is not None else replace(chosen, up_to=found.newest)), found.letters


def _named(which: WhichDead, letters: int) -> dict[str, object]:
    named = which.model_dump(mode="json", exclude={"all", "up_to"}, exclude_none=True)
    return {**named, "letters": letters}
