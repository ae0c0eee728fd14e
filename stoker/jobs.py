"""What can be asked of the worker: typed, versioned arguments that outlive deploys.

A job's `kind` is stored in Redis: never rename one, add the next version. Jobs carry only ids and
names, never rows. Idea: River's separation of arguments and worker by a stable kind string.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stoker.errors import InvalidJob, Unavailable, UnknownJob, UnknownScope, UnknownView


class Lane(StrEnum):
    """A queue with its own workers: bulk warming can never delay an invalidation."""

    CHANGES = "changes"
    """Relays and invalidations."""
    REFRESH = "refresh"
    """Rebuilds of single entries."""
    WARM = "warm"
    """Bulk work: warming, verifying, pruning."""


class Outcome(StrEnum):
    """Everything that a handler or a build can end with."""

    DONE = "done"
    """The work is done."""
    STORED = "stored"
    """Built and kept."""
    FRESH = "fresh"
    """Nothing to do: the entry is valid and young."""
    SUPERSEDED = "superseded"
    """Built, but overtaken by a change: not kept, its own caller has the value."""
    GONE = "gone"
    """SQL has no such row (any more): nothing stored."""
    ALREADY_BUILDING = "already_building"
    """Another process holds the lease under the same stamps."""
    NOT_KEPT = "not_kept"
    """Built, but the cache did not take it: away, or its memory is full."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed job runs again.

    `attempts` counts runs that failed by themselves, not deploys or rescues. The delay doubles from `first`
    to at most `longest`, with full jitter. Errors outside `errors` are dead at once.
    """

    attempts: int = 5
    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(minutes=5)
    # A view or scope that is unknown here may be of a newer release that runs beside this one (RACES 30).
    errors: tuple[type[BaseException], ...] = (
        *(Unavailable, OSError, TimeoutError),
        *(UnknownView, UnknownScope),
    )


class Job(BaseModel):
    """The arguments of one job. Frozen; unknown fields are refused."""

    # What a field holds stays out of logs: errors name the field alone.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: ClassVar[str]
    lane: ClassVar[Lane]
    timeout: ClassVar[timedelta] = timedelta(seconds=60)
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    one_at_a_time: ClassVar[bool] = False
    """A second job of a coalesce key waits until the first has ended. Not for relays: two of them claim
    different events, and a change must not wait for a relay that hangs."""
    followed: ClassVar[bool] = False
    """Its progress may be asked for, so the end of a job is written to it."""
    repeated: ClassVar[bool] = False
    """The next slot, sweep or read does its work too. When an outage has used up its tries, it is dropped
    without a dead letter."""

    def coalesce_key(self) -> str | None:
        """Jobs of one key coalesce: at most one waits. None: every job runs."""
        return None


class Relay(Job):
    """Apply recorded events to the cache. Safe to run twice, in any order."""

    kind = "relay.v1"
    lane = Lane.CHANGES
    repeated = True

    def coalesce_key(self) -> str:
        """One relay that has not begun is enough for every event recorded until it begins."""
        return self.kind


class Invalidate(Job):
    """Invalidate a scope, for a writer that has no SQL transaction to record an event in."""

    kind = "invalidate.v1"
    lane = Lane.CHANGES
    scope_kind: str = Field(max_length=32)
    """The name of its kind."""
    scope_id: str = Field(max_length=64)
    """Its id, as text."""
    views: tuple[str, ...] = ()
    """Names of views; empty: all of the scope."""
    hard: bool = False
    """Fail-safe may not serve what was before."""


class Refresh(Job):
    """Rebuild one entry from SQL. Safe to run twice, in any order."""

    kind = "refresh.v1"
    lane = Lane.REFRESH
    repeated = True
    one_at_a_time = True
    view: str = Field(max_length=32)
    """The name of its view."""
    scope_id: str = Field(max_length=64)
    """The id of its scope, as text."""
    params: str = Field(default="", max_length=4096)
    """Its parameters as in EntryKey; empty for a view that takes none."""

    def coalesce_key(self) -> str:
        """At most one refresh of an entry waits while another may run (RACES 26)."""
        return f"{self.kind}|{self.view}|{self.scope_id}|{self.params}"


class Warm(Job):
    """Build the missing or ageing entries of a target: `active`, or one scope."""

    kind = "warm.v1"
    lane = Lane.WARM
    timeout = timedelta(minutes=15)
    followed = True
    target: str = Field(default="active", max_length=32)
    """The target of a warm plan: `active`, or the name of a scope kind."""
    scope_id: str | None = Field(default=None, max_length=64)
    """Under the name of a scope kind: the id of the scope, as text."""


class KeepWarm(Job):
    """Rebuild hot entries that are about to expire."""

    kind = "keep_warm.v1"
    lane = Lane.WARM
    repeated = True
    timeout = timedelta(minutes=2)
    one_at_a_time = True

    def coalesce_key(self) -> str:
        """A job that has not begun does all that another one would."""
        return self.kind


class Prune(Job):
    """Delete settled events, old audit rows and old schedule slots past their keeping time."""

    kind = "prune.v1"
    lane = Lane.WARM
    timeout = timedelta(minutes=10)


class Verify(Job):
    """Compare a sample of entries with SQL."""

    kind = "verify.v1"
    lane = Lane.WARM
    repeated = True
    timeout = timedelta(minutes=2)
    one_at_a_time = True
    entries: int = Field(default=100, ge=1, le=10_000)
    """How many; each costs Postgres about one build."""

    def coalesce_key(self) -> str:
        """One sample at a time is enough."""
        return self.kind


JOBS: dict[str, type[Job]] = {
    job.kind: job for job in (Relay, Invalidate, Refresh, Warm, KeepWarm, Prune, Verify)
}


def parse(kind: str, payload: Any) -> Job:  # noqa: ANN401 - whatever the queue held
    """The job of a payload; raises UnknownJob or InvalidJob, naming the field."""
    job = JOBS.get(kind)
    if job is None:
        raise UnknownJob(f"this release knows no job {kind[:60]!r}")
    try:
        return job.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "payload"
        raise InvalidJob(f"{kind}: {where}: {first['msg']}") from None
