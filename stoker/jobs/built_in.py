"""Stoker's own jobs. What each one does is in `stoker.handlers`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from stoker.errors import InvalidJob, UnknownJob
from stoker.jobs.job import Job
from stoker.jobs.lane import Lane


def _name(given: Any) -> Any:  # noqa: ANN401 - what is neither is refused by the field
    """The name of a view or a scope kind, or a name as it is."""
    return given if isinstance(given, str) else getattr(given, "name", given)


def _id(given: Any) -> Any:  # noqa: ANN401 - the same
    return str(given) if type(given) is int else given


Name = Annotated[str, BeforeValidator(_name)]
"""The name of a view or a scope kind, given as text or as the View or ScopeKind."""
Id = Annotated[str, BeforeValidator(_id)]
"""The id of a scope, given as text or as a number."""


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
    scope_kind: Name = Field(max_length=32)
    """Its ScopeKind, or the name of it."""
    scope_id: Id = Field(max_length=64)
    """Its id."""
    views: tuple[Name, ...] = ()
    """Views or their names; empty: all of the scope."""
    hard: bool = False
    """Fail-safe must not serve the old value."""


class Refresh(Job):
    """Rebuild one entry from SQL. Safe to run twice, in any order."""

    kind = "refresh.v1"
    lane = Lane.REFRESH
    repeated = True
    one_at_a_time = True
    view: Name = Field(max_length=32)
    """Its View, or the name of it."""
    scope_id: Id = Field(max_length=64)
    """The id of its scope."""
    params: str = Field(default="", max_length=4096)
    """Its parameters as in EntryKey; empty for a view that takes none."""

    def coalesce_key(self) -> str:
        """At most one refresh of an entry waits while another may run (RACES 26)."""
        return f"{self.kind}|{self.view}|{self.scope_id}|{self.params}"


class Warm(Job):
    """Build the entries of a target (`active`, or one scope) that are missing or due for a refresh."""

    kind = "warm.v1"
    lane = Lane.WARM
    timeout = timedelta(minutes=15)
    followed = True
    target: Name = Field(default="active", max_length=32)
    """The target of a warm plan: `active`, or a scope kind or its name."""
    scope_id: Id | None = Field(default=None, max_length=64)
    """Of a scope kind: the id of the scope."""
    unless_predicted: bool = False
    """Do nothing while prediction warms: set by the schedule, not where somebody asks for it."""


class KeepWarm(Job):
    """Rebuild hot entries that are about to expire."""

    kind = "keep_warm.v1"
    lane = Lane.WARM
    repeated = True
    timeout = timedelta(minutes=2)
    one_at_a_time = True

    def coalesce_key(self) -> str:
        """One that has not begun is enough."""
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


def parse(
    kind: str,
    payload: Any,  # noqa: ANN401 - whatever the queue held
    job_types: Mapping[str, type[Job]] = JOBS,
) -> Job:
    """The job of a payload; raises UnknownJob or InvalidJob, naming the field."""
    job = job_types.get(kind)
    if job is None:
        raise UnknownJob(f"this release knows no job {kind[:60]!r}")
    try:
        return job.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "payload"
        raise InvalidJob(f"{kind}: {where}: {first['msg']}") from None
