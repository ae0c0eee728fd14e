"""The domain: everything that an application declares.

Stoker finds the domain through the setting `domain` and never names one itself. Declarations are checked
once, when the domain is made; a mistake is a DeclarationError at start-up, not a stale page later.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncSession

from stoker.cache.catalog import Catalog
from stoker.cache.declared import check_all, check_unique, name_of
from stoker.cache.view import EntryKey, ScopeKind
from stoker.captures.declared import Capture
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
from stoker.handled import Around, Handler, Lifespan, check_around, check_handlers, check_lifespan
from stoker.jobs import JOBS, LANES, Invalidate, Job, Lane, Refresh, Warm
from stoker.rules import OWN_KINDS, Invalidation, Rule
from stoker.schedule import MAINTENANCE, Cron, Every, Scheduled
from stoker.warm_plans import ACTIVE, WarmPlan

if TYPE_CHECKING:
    from stoker.arq.application import ArqApplication
    from stoker.arq.cron import ArqCron

NO_DOMAIN = (
    "domain: not set; name the module that declares your views and rules: STOKER__DOMAIN=shop.caching in the"
    ' environment, or domain = "shop.caching" in settings.toml'
)


@dataclass(frozen=True)
class SampleData:
    """How to fill an empty database: used by `stoker sample-data`, `up` and the demo.

    `load(database_url, seed, users, report)` loads and returns rows per table; `report(done, total)` feeds
    a progress bar; `is_empty` tells whether there is anything yet.
    """

    load: Callable[[str, int, int, Callable[[int, int], None]], Awaitable[Mapping[str, int]]]
    is_empty: Callable[[AsyncSession], Awaitable[bool]]
    default_users: int = 200


@dataclass(frozen=True, kw_only=True)
class Domain(Catalog):
    """Everything that Stoker knows about an application. Raises DeclarationError for what cannot work."""

    name: str
    """For people: console, logs, errors."""
    rules: tuple[Rule[Any], ...] = ()
    """One for each kind of event that is recorded."""
    captures: tuple[Capture, ...] = ()
    """Tables whose changes the database records by itself; `stoker migrate` makes the triggers."""
    warm_plans: tuple[WarmPlan, ...] = ()
    """At most one for each target."""
    schedule: tuple[Every | Cron, ...] = MAINTENANCE
    """What the worker enqueues by itself: MAINTENANCE and your own entries."""
    lanes: tuple[Lane, ...] = ()
    """Queues of the application's own jobs, each with slots of its own."""
    handlers: Mapping[type[Job], Handler] = field(default_factory=dict, hash=False)
    """What runs the application's own jobs, by the class of the job: functions of (context, job), async
    ones or plain ones, which run in a thread."""
    around: tuple[Around, ...] = ()
    """Async functions of (context, job, call) around each handler; they return what `await call()` does."""
    lifespan: Lifespan | None = None
    """An async context manager of the Stoker: what it yields, once a worker, is `context.resources`."""
    arq: Any = field(default=None, hash=False)
    """The WorkerSettings of an arq application, whose functions and cron jobs run here too (docs/arq.md)."""
    migrations: Path | None = None
    """A folder of Alembic revisions that `stoker migrate` applies; None where the application does it."""
    sample_data: SampleData | None = None
    """How to fill an empty database."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.name, str) or not self.name.strip():
            raise DeclarationError(f"a domain needs a name, not {self.name!r:.60}")
        check_all(self.rules, Rule, "rules")
        check_all(self.captures, Capture, "captures")
        check_all(self.warm_plans, WarmPlan, "warm_plans")
        check_all(self.schedule, Scheduled, "schedule")
        check_unique("event", [rule.event.kind for rule in self.rules])
        check_unique("warm plan", [plan.target for plan in self.warm_plans])
        check_all(self.lanes, Lane, "lanes")
        check_unique("lane", [str(lane) for lane in self.all_lanes])
        check_handlers(self.handlers, self.lanes)
        check_unique("schedule", [one.name for one in self.whole_schedule])
        check_unique("job kind", [*JOBS, *(job.kind for job in self.handlers), *self._arq_calls])
        check_around(self.around)
        if self.migrations is not None and not isinstance(self.migrations, Path):
            raise DeclarationError(
                f"migrations must be the Path of a folder, not {self.migrations!r:.80}: "
                'write Path(__file__).parent / "migrations"'
            )
        check_lifespan(self.lifespan)
        for rule in self.rules:
            if rule.event.kind.startswith(OWN_KINDS):
                raise DeclarationError(
                    f"event {rule.event.__name__}: kinds that begin with {OWN_KINDS!r} are Stoker's own"
                )
        check_unique("capture", [f"{one.table} ({one.event.kind})" for one in self.captures])
        for capture in self.captures:
            self._check_capture(capture)
        for plan in self.warm_plans:
            if plan.target != ACTIVE and plan.target not in self.kinds_by_name:
                raise DeclarationError(
                    f"warm plan {plan.target!r} is neither `active` nor a scope kind of this domain"
                )
        for entry in self.whole_schedule:
            self._check_scheduled(entry)

    @property
    def job_types(self) -> Mapping[str, type[Job]]:
        """Every job that a worker of this domain runs, by kind: Stoker's own, and the application's."""
        return {**JOBS, **{job.kind: job for job in self.handlers}, **self._arq_calls}

    @cached_property
    def arq_application(self) -> ArqApplication | None:
        """What `arq` declares."""
        if self.arq is None:
            return None
        from stoker.arq.application import ArqApplication  # noqa: PLC0415 - imports arq's worker

        return ArqApplication.of(self.arq)

    @property
    def _arq_calls(self) -> Mapping[str, type[Job]]:
        return self.arq_application.calls if self.arq_application else {}

    def arq_job(self, function: str, /, *args: Any, **kwargs: Any) -> Job:  # noqa: ANN401 - the function's
        """The call of a function of `arq` as a job, for `enqueue` and `enqueue_in`; raises UnknownJob."""
        call = self._arq_calls.get(function)
        if call is None:
            known = ", ".join(sorted(self._arq_calls)) or "none"
            raise UnknownJob(f"the arq application has no function {function!r:.80}; there are: {known}")
        return call.model_validate({"args": args, "kwargs": kwargs})

    @cached_property
    def whole_schedule(self) -> tuple[Every | Cron | ArqCron, ...]:
        """`schedule`, then the cron jobs of `arq`."""
        return (*self.schedule, *(self.arq_application.schedule if self.arq_application else ()))

    @cached_property
    def all_lanes(self) -> tuple[Lane, ...]:
        """Stoker's own lanes, then the domain's, then the queue of `arq`."""
        of_arq = (self.arq_application.lane,) if self.arq_application else ()
        return (*LANES, *self.lanes, *of_arq)

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
        """Kinds of events whose rules have an audience query, which needs the event's fields."""
        return frozenset(kind for kind, rule in self.rules_by_kind.items() if rule.audience is not None)

    def checked(self, found: object, whose: str) -> list[Invalidation]:
        """The invalidations that a rule or a caller gave; raises DeclarationError for an impossible one.

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
        """What is wrong with an invalidation, and which names there are instead."""
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
        """Raise UnknownJob for a job that no handler runs, BadRequest for unknown names in its arguments."""
        if type(job) in self.handlers:
            return
        self._check_kind(job)
        if isinstance(job, Warm):
            target = self.warm_plan(job.target).target
            if job.scope_id is not None:
                self.scope(target, job.scope_id)
        elif isinstance(job, Refresh):
            view = self.view(job.view)
            if not self.takes(EntryKey(view.name, self.scope(view.scope, job.scope_id), job.params)):
                raise InvalidParams(f"view {view.name} does not take {job.params!r:.100}", field="params")

    def _check_kind(self, job: Job) -> None:
        if not isinstance(job, Job):
            raise BadRequest(f"enqueue a job, such as SendMail(user_id=7), not {job!r:.60}", field="job")
        if type(job) is not self.job_types.get(job.kind):
            known = ", ".join(sorted({*self.job_types} - {*JOBS})) or "none"
            raise UnknownJob(
                f"no handler for {type(job).__name__} ({job.kind}): add one to the domain's `handlers`; "
                f"there are: {known}"
            )
        if isinstance(job, Invalidate):
            kind = self.scope(job.scope_kind, job.scope_id).kind
            for name in job.views:
                if self.view(name).scope != kind:
                    raise UnknownView(f"view {name} is not of scope kind {kind}", field="views")

    def _check_capture(self, capture: Capture) -> None:
        what = f"capture of {capture.table}"
        rule = self.rules_by_kind.get(capture.event.kind)
        if rule is None or rule.event is not capture.event:
            raise DeclarationError(f"{what}: no rule for {capture.event.__name__}: add one to `rules`")
        if unknown := sorted(capture.views - self.views_by_name.keys()):
            known = ", ".join(sorted(self.views_by_name)) or "none"
            raise DeclarationError(f"{what}: no view {unknown[0]!r}; there are: {known}")

    def _check_scheduled(self, entry: Scheduled) -> None:
        if type(entry.job) is not self.job_types.get(entry.job.kind):
            raise DeclarationError(f"schedule {entry.name}: no handler for {type(entry.job).__name__}")
        if entry in MAINTENANCE:  # MAINTENANCE leaves out what the domain cannot do
            return
        try:
            self.check_job(entry.job)
        except BadRequest as error:
            raise DeclarationError(f"schedule {entry.name}: {error}") from None

    def subject_of(self, job: Job | None) -> str | None:
        """The scope of a job, as `kind:id`; None for a job that is about everything."""
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
    except (DeclarationError, SettingsError):
        raise
    except ImportError as error:
        raise DeclarationError(f"domain {module!r} cannot be imported: {error}") from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({place.filename}, line {place.lineno})"
        raise DeclarationError(
            f"domain {module!r} cannot be imported: {type(error).__name__}: {error}{where}"
        ) from error
    domain = getattr(found, attribute or "domain", None)
    if not isinstance(domain, Domain):
        raise DeclarationError(f"{module} has no `{attribute or 'domain'}` of type stoker.Domain")
    return domain
