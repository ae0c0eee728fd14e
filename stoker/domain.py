"""What a domain declares: scope kinds, views, events, rules and warm plans.

Stoker finds the domain through the setting `domain` and never names one itself. Declarations are checked
once, when the domain is made; a mistake is a DeclarationError at start-up, not a stale page later.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from stoker.cache.catalog import Catalog, refuse_doubles
from stoker.cache.view import EntryKey, Scope
from stoker.errors import DeclarationError, SettingsError, UnknownScope
from stoker.jobs import Invalidate, Job, Refresh, Warm

NO_DOMAIN = (
    "domain: not set; name the module that declares your views and rules: STOKER__DOMAIN=shop.caching in the"
    ' environment, or domain = "shop.caching" in settings.toml'
)
ACTIVE = "active"
"""The warm target that means everybody who is active now."""


class Event(BaseModel):
    """A fact about the database, recorded in the transaction that made it true.

    `kind` is stored: never rename it, add a new one. Fields carry what the writer saw (the audience of the
    change); later rows may already be gone when the event is applied.
    """

    # What a field holds stays out of logs: errors name the field alone.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    kind: ClassVar[str]


class Invalidation(NamedTuple):
    """Which views of one scope are wrong now; an empty `views` means every view of the scope.

    Soft: entries may still be served, marked stale, when their loader fails. Hard: never again.
    """

    scope: Scope
    views: frozenset[str] = frozenset()
    hard: bool = False


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


@dataclass(frozen=True)
class WarmPlan:
    """What to warm for one kind of target, most urgent first.

    `target` is `active` (everybody active now) or the name of a scope kind. `entries` gets the scope (None
    for `active`) and gives the keys of entries in the order in which they should be built.
    """

    target: str
    entries: Callable[[AsyncSession, Scope | None], Awaitable[Sequence[EntryKey]]]


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
    """Everything that Stoker knows about an application: its views, and what makes them wrong.

    `migrations` is a folder of Alembic revisions; None for a domain that brings its own.
    """

    name: str
    rules: tuple[Rule[Any], ...]
    warm_plans: tuple[WarmPlan, ...] = ()
    migrations: Path | None = None
    sample_data: SampleData | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_doubles("event", [rule.event.kind for rule in self.rules])
        refuse_doubles("warm plan", [plan.target for plan in self.warm_plans])
        for plan in self.warm_plans:
            if plan.target != ACTIVE and plan.target not in self.kinds_by_name:
                raise DeclarationError(f"warm plan {plan.target!r} is neither `active` nor a scope kind")

    @cached_property
    def rules_by_kind(self) -> Mapping[str, Rule[Any]]:
        """Every rule, by the kind of its event."""
        return {rule.event.kind: rule for rule in self.rules}

    @cached_property
    def asking_kinds(self) -> frozenset[str]:
        """Kinds of events whose rules ask the database, and need what the event says for it."""
        return frozenset(kind for kind, rule in self.rules_by_kind.items() if rule.audience is not None)

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

    def warm_plan(self, target: str) -> WarmPlan:
        """The plan for a target; raises UnknownScope."""
        for plan in self.warm_plans:
            if plan.target == target:
                return plan
        known = ", ".join(plan.target for plan in self.warm_plans) or "none"
        raise UnknownScope(f"nothing to warm for {target[:40]!r}; there are: {known}", field="target")


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
