"""What a domain declares: scope kinds, views, events, rules and warm plans.

Stoker finds the domain through the setting `domain` and never names one itself. Declarations are checked
once, when the domain is made; a mistake is a DeclarationError at start-up, not a stale page later.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from stoker.cache.catalog import Catalog
from stoker.cache.declared import check_all, check_async, check_called, check_plain, check_unique, name_of
from stoker.cache.view import EntryKey, Scope, ScopeKind, View
from stoker.errors import (
    BadRequest,
    DeclarationError,
    InvalidParams,
    SettingsError,
    UnknownJob,
    UnknownLane,
    UnknownScope,
    UnknownView,
)
from stoker.jobs import JOBS, LANES, Invalidate, Job, Lane, Refresh, Warm
from stoker.schedule import MAINTENANCE, Cron, Every, Scheduled

NO_DOMAIN = (
    "domain: not set; name the module that declares your views and rules: STOKER__DOMAIN=shop.caching in the"
    ' environment, or domain = "shop.caching" in settings.toml'
)
ACTIVE = "active"
"""The warm target that means everybody who is active now."""
OWN_KINDS = "stoker."
"""Begins the kinds of events that Stoker records itself."""
LONGEST_KIND = 64
"""Characters of an event's kind."""


class Event(BaseModel):
    """A fact about the database, recorded in the transaction that made it true.

    `kind` is stored: never rename it, add a new one. Fields carry what the writer saw (the audience of the
    change); later rows may already be gone when the event is applied.
    """

    # What a field holds stays out of logs: errors name the field alone.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    kind: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuse a kind that is a field or no name; a class without one may be the base of others."""
        if "kind" in cls.model_fields:
            raise DeclarationError(
                f'event {cls.__name__}: `kind` must not be a field: write `kind = "order.changed"` without a '
                "type, or with ClassVar[str]"
            )
        kind = getattr(cls, "kind", None)
        if kind is not None and not (isinstance(kind, str) and 0 < len(kind) <= LONGEST_KIND):
            raise DeclarationError(
                f"event {cls.__name__}: `kind` must be a text of 1 to {LONGEST_KIND} characters, "
                f"not {kind!r:.80}"
            )


@dataclass(frozen=True, init=False, slots=True)
class Invalidation:
    """Which views of one scope are wrong now; an empty `views` means every view of the scope.

    `views` takes names or the Views themselves. Soft: entries may still be served, marked stale, when their
    loader fails. Hard: never again.
    """

    scope: Scope
    views: frozenset[str]
    hard: bool

    def __init__(self, scope: Scope, views: Iterable[str | View] = frozenset(), hard: bool = False) -> None:  # noqa: FBT001, FBT002 - the scope and its views come by position, and this may
        if not isinstance(scope, Scope):
            raise DeclarationError(
                f"an invalidation needs a Scope, not {scope!r:.60}: write ORDER.scope(order_id), where ORDER "
                "is a ScopeKind"
            )
        if isinstance(views, str | View):
            raise DeclarationError(
                f"an invalidation needs a set of views, not {views!r:.60}: write {{{name_of(views)!r}}}"
            )
        set_ = object.__setattr__  # the class is frozen
        set_(self, "scope", scope)
        set_(self, "views", frozenset(map(name_of, views)))
        set_(self, "hard", hard)


E = TypeVar("E", bound=Event)
AudienceQuery = Callable[[AsyncSession, Sequence[E]], Awaitable[Iterable[Invalidation]]]


@dataclass(frozen=True)
class Rule(Generic[E]):
    """Which views of which scopes an event invalidates.

    `invalidates` is computed from the event alone, when it is recorded, and stored with it. `audience`, if
    given, adds what the database says when the event is applied: whoever joined in between must not keep a
    stale list (RACES 32). It gets many events of its type at once.
    """

    event: type[E]
    invalidates: Callable[[E], Iterable[Invalidation]]
    audience: AudienceQuery[E] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.event, type) and issubclass(self.event, Event)):
            raise DeclarationError(f"a rule is for a subclass of Event, not for {self.event!r:.60}")
        name = self.event.__name__
        if not hasattr(self.event, "kind"):
            raise DeclarationError(
                f'event {name} has no `kind`: write `kind = "order.changed"`, and never rename it'
            )
        check_plain(self.invalidates, f"`invalidates` of the rule for {name}", "event")
        if self.audience is not None:
            check_async(self.audience, f"`audience` of the rule for {name}", "session", "events")


Entries = Callable[[AsyncSession, Scope | None], Awaitable[Sequence[EntryKey]]]


@dataclass(frozen=True, init=False)
class WarmPlan:
    """What to warm for one kind of target, most urgent first.

    `target` is `active` (everybody active now), or a scope kind or its name. `entries` gets the scope (None
    for `active`) and gives the keys of entries in the order in which they should be built.
    """

    target: str
    entries: Entries

    def __init__(self, target: str | ScopeKind, entries: Entries) -> None:
        vars(self).update(target=name_of(target), entries=entries)  # the class is frozen
        check_async(entries, f"`entries` of the warm plan for {self.target!r}", "session", "scope")


@dataclass(frozen=True)
class SampleData:
    """How to fill an empty database: used by `stoker sample-data`, `up` and the demo.

    `load(database_url, seed, users, report)` loads and returns rows per table; `report(done, total)` feeds
    a progress bar; `is_empty` tells whether there is anything yet.
    """

    load: Callable[[str, int, int, Callable[[int, int], None]], Awaitable[Mapping[str, int]]]
    is_empty: Callable[[AsyncSession], Awaitable[bool]]
    default_users: int = 200


Handler = Callable[[Any, Any], Any]
"""Runs a job: takes a JobContext and the job, returns the result. An error that it raises fails the job."""
Around = Callable[[Any, Any, Callable[[], Awaitable[Any]]], Awaitable[Any]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Domain(Catalog):
    """Everything that Stoker knows about an application. Raises DeclarationError for what cannot work."""

    name: str
    """For people: console, logs, errors."""
    rules: tuple[Rule[Any], ...]
    """One for each kind of event that is recorded."""
    warm_plans: tuple[WarmPlan, ...] = ()
    """At most one for each target."""
    schedule: tuple[Every | Cron, ...] = MAINTENANCE
    """What the worker enqueues by itself: MAINTENANCE, and what you put beside it."""
    lanes: tuple[Lane, ...] = ()
    """Queues of the application's own jobs, each with slots of its own."""
    handlers: Mapping[type[Job], Handler] = field(default_factory=dict, hash=False)
    """What runs the application's own jobs, by the class of the job: functions of (context, job), async
    ones or plain ones, which run in a thread."""
    around: tuple[Around, ...] = ()
    """Async functions of (context, job, call) around each handler; they return what `await call()` does."""
    lifespan: Lifespan | None = None
    """An async context manager of the Stoker: what it yields, once a worker, is `context.resources`."""
    migrations: Path | None = None
    """A folder of Alembic revisions that `stoker migrate` applies; None where the application does it."""
    sample_data: SampleData | None = None
    """How to fill an empty database."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.name, str) or not self.name.strip():
            raise DeclarationError(f"a domain needs a name, not {self.name!r:.60}")
        check_all(self.rules, Rule, "rules")
        check_all(self.warm_plans, WarmPlan, "warm_plans")
        check_all(self.schedule, Scheduled, "schedule")
        check_unique("schedule", [one.name for one in self.schedule])
        check_unique("event", [rule.event.kind for rule in self.rules])
        check_unique("warm plan", [plan.target for plan in self.warm_plans])
        self._check_jobs()
        for rule in self.rules:
            if rule.event.kind.startswith(OWN_KINDS):
                raise DeclarationError(
                    f"event {rule.event.__name__}: kinds that begin with {OWN_KINDS!r} are Stoker's own"
                )
        for plan in self.warm_plans:
            if plan.target != ACTIVE and plan.target not in self.kinds_by_name:
                raise DeclarationError(
                    f"warm plan {plan.target!r} is neither `active` nor a scope kind of this domain"
                )
        for entry in self.schedule:
            self._check_scheduled(entry)

    def _check_jobs(self) -> None:
        check_all(self.lanes, Lane, "lanes")
        check_unique("lane", [str(lane) for lane in self.all_lanes])
        if not isinstance(self.handlers, Mapping):
            raise DeclarationError(
                f"handlers must map job classes to functions, not be {self.handlers!r:.80}"
            )
        for job, handler in self.handlers.items():
            self._check_handler(job, handler)
        check_unique("job kind", [job.kind for job in self.handlers])
        check_all(self.around, Callable, "around")  # type: ignore[arg-type] # checked below, one by one
        for around in self.around:
            check_async(around, f"`around` {name_of_function(around)}", "context", "job", "call")
        if self.lifespan is not None:
            self._check_lifespan()
        for one in self.schedule:
            if type(one.job) is not self.job_types.get(one.job.kind):
                raise DeclarationError(f"schedule {one.name}: no handler for {type(one.job).__name__}")

    def _check_handler(self, job: type[Job], handler: Handler) -> None:
        if not (isinstance(job, type) and issubclass(job, Job) and hasattr(job, "kind")):
            raise DeclarationError(f"handlers go by a subclass of Job with a `kind`, not by {job!r:.60}")
        name = job.__name__
        if job.kind in JOBS:
            raise DeclarationError(f"job {name}: {job.kind!r} is one of Stoker's own: choose another kind")
        if job.lane not in self.lanes:
            known = ", ".join(self.lanes) or "none"
            raise DeclarationError(
                f"job {name}: the domain declares no lane {job.lane!r:.60}; there are: {known}. Add "
                f'Lane("{job.lane:.32}") to `lanes`'
            )
        check_called(handler, f"the handler of {name}", "context", "job")

    @property
    def job_types(self) -> Mapping[str, type[Job]]:
        """Every job that a worker of this domain runs, by kind: Stoker's own, and those with a handler."""
        return {**JOBS, **{job.kind: job for job in self.handlers}}

    @cached_property
    def all_lanes(self) -> tuple[Lane, ...]:
        """Stoker's own lanes, then the domain's."""
        return (*LANES, *self.lanes)

    def lane(self, name: str) -> Lane:
        """The lane of that name; raises UnknownLane."""
        for lane in self.all_lanes:
            if lane == name:
                return lane
        known = ", ".join(self.all_lanes)
        raise UnknownLane(f"the domain has no lane {name!r:.42}; there are: {known}", field="lane")

    @cached_property
    def rules_by_kind(self) -> Mapping[str, Rule[Any]]:
        """Every rule, by the kind of its event."""
        return {rule.event.kind: rule for rule in self.rules}

    @cached_property
    def asking_kinds(self) -> frozenset[str]:
        """Kinds of events whose rules ask the database, and need what the event says for it."""
        return frozenset(kind for kind, rule in self.rules_by_kind.items() if rule.audience is not None)

    def checked(self, found: object, whose: str) -> list[Invalidation]:
        """The invalidations that a rule or a caller gave; raises DeclarationError for one that cannot be.

        A misspelt name would be applied without effect, and the page would stay stale.
        """
        if not isinstance(found, Iterable) or isinstance(found, str | bytes):
            raise DeclarationError(f"{whose} must give a list of Invalidations, not {found!r:.100}")
        invalidations = list(found)
        for one in invalidations:
            if not isinstance(one, Invalidation):
                raise DeclarationError(f"{whose} must give Invalidations, not {one!r:.100}")
            if (mistake := self._mistake(one)) is not None:
                raise DeclarationError(f"{whose} names {mistake}")
        return invalidations

    def _mistake(self, one: Invalidation) -> str | None:
        """What is wrong with an invalidation, and what there is instead."""
        kind = self.kinds_by_name.get(one.scope.kind)
        if kind is None:
            known = ", ".join(sorted(self.kinds_by_name)) or "none"
            return f"scope kind {one.scope.kind!r:.60}, which the domain does not have; there are: {known}"
        if not one.views <= (known_views := self.view_names_by_scope[kind.name]):
            unknown = ", ".join(sorted(map(repr, one.views - known_views)))
            known = ", ".join(sorted(known_views)) or "none"
            return f"{unknown:.100}, which is no view of {kind.name}; there are: {known}"
        try:
            canonical = kind.scope(one.scope.id) == one.scope
        except UnknownScope as error:
            return f"a scope that cannot be: {error}"
        return None if canonical else f"{one.scope!r}: write {kind.name}.scope(id) of the ScopeKind"

    def has_warm_plan(self, target: str) -> bool:
        """Whether there is a plan for a target."""
        return any(plan.target == target for plan in self.warm_plans)

    def check_job(self, job: Job) -> None:
        """Raise UnknownJob for one that no handler runs, BadRequest for one that names what there is not."""
        if type(job) is not self.job_types.get(job.kind):
            known = ", ".join(sorted(job.kind for job in self.handlers)) or "none"
            raise UnknownJob(
                f"no handler for {type(job).__name__} ({job.kind}): add one to the domain's `handlers`; "
                f"there are: {known}"
            )
        if isinstance(job, Warm):
            target = self.warm_plan(job.target).target
            if job.scope_id is not None:
                self.scope(target, job.scope_id)
        elif isinstance(job, Refresh):
            view = self.view(job.view)
            if not self.takes(EntryKey(view.name, self.scope(view.scope, job.scope_id), job.params)):
                raise InvalidParams(f"view {view.name} does not take {job.params!r:.100}", field="params")
        elif isinstance(job, Invalidate):
            kind = self.scope(job.scope_kind, job.scope_id).kind
            for name in job.views:
                if self.view(name).scope != kind:
                    raise UnknownView(f"view {name} is not of scope kind {kind}", field="views")

    def _check_scheduled(self, entry: Every | Cron) -> None:
        if entry in MAINTENANCE:  # which leaves out what the domain cannot do
            return
        try:
            self.check_job(entry.job)
        except BadRequest as error:
            raise DeclarationError(f"schedule {entry.name}: {error}") from None

    def subject_of(self, job: Job | None) -> str | None:
        """What a job is about, as `kind:id`; None for one that is about everything."""
        if isinstance(job, Refresh):
            view = self.views_by_name.get(job.view)
            return None if view is None else f"{view.scope}:{job.scope_id}"
        if isinstance(job, Invalidate):
            return f"{job.scope_kind}:{job.scope_id}"
        if isinstance(job, Warm) and job.scope_id is not None:
            return f"{job.target}:{job.scope_id}"
        return None

    def warm_plan(self, target: str | ScopeKind) -> WarmPlan:
        """The plan for a target; raises UnknownScope."""
        name = name_of(target)
        for plan in self.warm_plans:
            if plan.target == name:
                return plan
        known = ", ".join(plan.target for plan in self.warm_plans) or "none"
        raise UnknownScope(
            f"nothing to warm for {name!r:.42}: the domain has no such warm plan; there are: {known}",
            field="target",
        )


def load_domain(named: str) -> Domain:
    """Import what the setting `domain` names: a module that has a `domain`, or `module:name`."""
    if not named:
        raise SettingsError(NO_DOMAIN)
    module, _, attribute = named.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DeclarationError(f"domain {module!r} cannot be imported: {error}") from error
    domain = getattr(found, attribute or "domain", None)
    if not isinstance(domain, Domain):
        raise DeclarationError(f"{module} has no `{attribute or 'domain'}` of type stoker.Domain")
    return domain
