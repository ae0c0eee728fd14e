"""What can be asked of the worker: typed, versioned arguments that outlive deploys.

A job's `kind` is stored in Redis: never rename one, add the next version. Jobs carry only ids and
names, never rows. Idea: River's separation of arguments and worker by a stable kind string.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function, str_schema

from stoker.errors import DeclarationError, InvalidJob, Unavailable, UnknownJob, UnknownScope, UnknownView

KIND = re.compile(r"[!-~]{1,64}")
"""What a kind may be: it becomes part of rows, of log lines and of metrics."""
LANE = re.compile(r"[a-z][a-z0-9_]{0,31}")
RESERVED = frozenset(
    {"begun", "bell", "cancelling", "chaos", "clock", "concurrency", "console_key", "held", "installation"}
    | {"observed", "progress", "rate", "requested", "rescues", "result", "suspect", "waiting"}
)
"""Names that follow the prefix in other keys of the queue."""


class Lane(str):
    """A queue with slots of its own, so that no job waits for the jobs of another lane.

    A lane is its name: 1 to 32 lower-case letters, digits and _. `concurrency`: how many of its jobs run at
    once in one worker process. `rate_per_s`: how many all workers together begin in a second; 0: no limit.
    `fair_cap`: how many of one `fair_key` run at once in all workers together; 0: no limit. The settings
    `lanes.NAME.concurrency`, `lanes.NAME.rate_per_s` and `lanes.NAME.fair_cap` win.
    """

    __slots__ = ("concurrency", "fair_cap", "rate_per_s")
    concurrency: int
    rate_per_s: float
    fair_cap: int
    CHANGES: ClassVar[Lane]
    """Relays and invalidations: Stoker's own jobs only."""
    REFRESH: ClassVar[Lane]
    """Rebuilds of single entries."""
    WARM: ClassVar[Lane]
    """Bulk warming and maintenance."""

    def __new__(cls, name: str, concurrency: int = 4, rate_per_s: float = 0, fair_cap: int = 0) -> Self:
        """Raises DeclarationError for a name or a number that cannot be."""
        if not isinstance(name, str) or not LANE.fullmatch(name) or name in RESERVED:
            raise DeclarationError(
                f"lane name {name!r:.60}: use 1 to 32 lower-case letters, digits and _, beginning with "
                f"a letter, and none of {', '.join(sorted(RESERVED))}"
            )
        if not isinstance(concurrency, int) or concurrency < 1:
            raise DeclarationError(f"lane {name}: concurrency must be 1 or more, not {concurrency!r:.60}")
        if not isinstance(rate_per_s, int | float) or not 0 <= rate_per_s < math.inf:
            raise DeclarationError(f"lane {name}: rate_per_s must be 0 or more, not {rate_per_s!r:.60}")
        if not isinstance(fair_cap, int) or fair_cap < 0:
            raise DeclarationError(f"lane {name}: fair_cap must be 0 or more, not {fair_cap!r:.60}")
        lane = super().__new__(cls, name)
        lane.concurrency, lane.rate_per_s, lane.fair_cap = concurrency, rate_per_s, fair_cap
        return lane

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        """In models it is its name."""
        return no_info_after_validator_function(_named, str_schema(pattern=f"^{LANE.pattern}$"))


def _named(name: str) -> Lane:
    try:
        return Lane(name)
    except DeclarationError as error:
        raise ValueError(str(error)) from None


Lane.CHANGES, Lane.REFRESH, Lane.WARM = Lane("changes", 4), Lane("refresh", 6), Lane("warm", 2)
LANES = (Lane.CHANGES, Lane.REFRESH, Lane.WARM)
"""The lanes of Stoker's own jobs."""


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


def _is_span(value: object) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


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

    def __post_init__(self) -> None:
        """Refuse what could not be followed; raises DeclarationError."""
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise DeclarationError(f"retry: attempts must be 1 or more, not {self.attempts!r:.60}")
        for name in ("first", "longest"):
            if not _is_span(span := getattr(self, name)):
                raise DeclarationError(f"retry: {name} must be a positive timedelta, not {span!r:.60}")
        errors = self.errors
        if not isinstance(errors, tuple) or not all(
            isinstance(one, type) and issubclass(one, BaseException) for one in errors
        ):
            raise DeclarationError(
                f"retry: errors must be a tuple of exceptions, such as (OSError,), not {errors!r:.60}"
            )


class Job(BaseModel):
    """The arguments of one job: ids and names, never rows. Frozen; unknown fields are refused.

    `kind` is stored in Redis: 1 to 64 visible ASCII characters, never renamed. `lane` is a lane that the
    domain declares, or its name. `timeout` ends a run. `keep_result`: how long what the handler returns can
    be fetched with `Stoker.result`; None keeps nothing. A class that cannot be a job raises DeclarationError.
    """

    # What a field holds stays out of logs: errors name the field alone.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: ClassVar[str]
    lane: ClassVar[str]
    timeout: ClassVar[timedelta] = timedelta(seconds=60)
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    keep_result: ClassVar[timedelta | None] = None
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

    def fair_key(self) -> str | None:
        """Jobs of different keys of a lane take turns: 1 to 100 characters, such as a tenant's id.

        None: the job waits in the order in which jobs are due, as if it had a key of its own.
        """
        return None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuse what could never run; a class without a kind may be the base of others."""
        if (mistake := _mistake(cls)) is not None:
            raise DeclarationError(f"job {cls.__name__}: {mistake}")
        if cls.keep_result is not None:
            cls.followed = True


def _mistake(job: type[Job]) -> str | None:
    """What is wrong with a class of jobs, in a sentence that says what to do."""
    for name in ("kind", "lane", "timeout", "retry", "keep_result"):
        if name in job.model_fields:
            return f"`{name}` must not be a field: write it without a type, or with ClassVar"
    if not hasattr(job, "kind"):
        return None
    kept = job.keep_result
    checks = (
        (_is_kind(job.kind), f"`kind` must be 1 to 64 visible ASCII characters, not {job.kind!r:.80}"),
        (isinstance(getattr(job, "lane", None), str), '`lane` must name a lane of the domain: lane = "mail"'),
        (_is_span(job.timeout), f"`timeout` must be a positive timedelta, not {job.timeout!r:.60}"),
        (isinstance(job.retry, RetryPolicy), f"`retry` must be a RetryPolicy, not {job.retry!r:.60}"),
        (
            kept is None or _is_span(kept),
            f"`keep_result` must be None or a positive timedelta, not {kept!r:.60}",
        ),
        (
            not job.one_at_a_time or job.coalesce_key is not Job.coalesce_key,
            "`one_at_a_time` needs a coalesce_key(): it holds for jobs of one key",
        ),
    )
    return next((said for right, said in checks if not right), None)


def _is_kind(value: object) -> bool:
    return isinstance(value, str) and KIND.fullmatch(value) is not None


def _name(given: Any) -> Any:  # noqa: ANN401 - what is neither is refused by the field
    """The name of a view or a scope kind; a name stands for itself."""
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


class Deliver(Job):
    """Bring jobs that were requested in transactions to their lanes. Safe to run twice."""

    kind = "deliver.v1"
    lane = Lane.CHANGES
    repeated = True

    def coalesce_key(self) -> str:
        """One that has not begun is enough for every request until it begins."""
        return self.kind


class Invalidate(Job):
    """Invalidate a scope, for a writer that has no SQL transaction to record an event in."""

    kind = "invalidate.v1"
    lane = Lane.CHANGES
    scope_kind: Name = Field(max_length=32)
    """Its kind, or the name of that."""
    scope_id: Id = Field(max_length=64)
    """Its id."""
    views: tuple[Name, ...] = ()
    """Views or their names; empty: all of the scope."""
    hard: bool = False
    """Fail-safe may not serve what was before."""


class Refresh(Job):
    """Rebuild one entry from SQL. Safe to run twice, in any order."""

    kind = "refresh.v1"
    lane = Lane.REFRESH
    repeated = True
    one_at_a_time = True
    view: Name = Field(max_length=32)
    """Its view, or the name of that."""
    scope_id: Id = Field(max_length=64)
    """The id of its scope."""
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
    target: Name = Field(default="active", max_length=32)
    """The target of a warm plan: `active`, or a scope kind or its name."""
    scope_id: Id | None = Field(default=None, max_length=64)
    """Of a scope kind: the id of the scope."""


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
    job.kind: job for job in (Relay, Deliver, Invalidate, Refresh, Warm, KeepWarm, Prune, Verify)
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
