"""What cannot be right is refused where it is declared, in one sentence that says what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import (
    Access,
    DeclarationError,
    Domain,
    EntryKey,
    Event,
    Every,
    Invalidate,
    Invalidation,
    InvalidParams,
    Refresh,
    Rule,
    Scope,
    ScopeKind,
    Stoker,
    View,
    Warm,
    WarmPlan,
)
from stoker.errors import UnknownScope, UnknownView
from stoker.jobs import Job
from stoker.outbox.record import InvalidationRequested

ORDER, CUSTOMER = ScopeKind("order"), ScopeKind("customer", str)


async def load(_session: AsyncSession, _keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    return {}


async def entries(_session: AsyncSession, _scope: Scope | None) -> Sequence[EntryKey]:
    return []


async def partly(_first: object, _second: object) -> None:
    """Takes one argument when its first is given."""


class Async:
    async def __call__(self, session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        return await load(session, keys)


class OrderChanged(Event):
    kind = "order.changed"
    order_id: int


class Page(BaseModel):
    limit: int = 10


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


def invalidates(event: OrderChanged) -> Iterable[Invalidation]:
    return [Invalidation(ORDER.scope(event.order_id), {SUMMARY})]


SUMMARY = View("summary", ORDER, load, params=Page, access=Access.ANYONE)
PROFILE = View("profile", CUSTOMER, load, access=Access.OWNER)


def domain_of(**changes: Any) -> Domain:  # noqa: ANN401 - what a domain declares
    declared: dict[str, Any] = {
        "name": "shop",
        "scopes": (ORDER, CUSTOMER),
        "views": (SUMMARY, PROFILE),
        "rules": (Rule(OrderChanged, invalidates),),
        **changes,
    }
    return Domain(**declared)


def refused(what: Callable[[], object], message: str) -> None:
    with pytest.raises(DeclarationError, match=message) as caught:
        what()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ttl": 300}, r"the ttl of view page is 300: write timedelta\(seconds=\.\.\.\)"),
        ({"ttl": timedelta(0)}, "the ttl of view page is not within"),
        ({"load": None}, r"must be an async function that takes \(session, keys\), not None"),
        (
            {"load": lambda _session, _keys: {}},
            "the loader of view page must be an async function: write `async",
        ),
        ({"load": functools.partial(partly, None)}, r"takes \(session, keys\): too many positional"),
        ({"name": ""}, "view name ''"),
        ({"name": None}, "view name None"),
        ({"name": "Order-Page"}, "view name 'Order-Page': use 1 to 32 lower-case letters"),
        ({"name": "hard"}, "and none of hard, lease, stamp"),
        ({"scope": ""}, "view page: scope kind name ''"),
        ({"scope": 5}, "view page: scope kind name 5"),
        ({"access_view": ""}, "view page: access view name ''"),
        ({"access": "anyone"}, "the access of view page must be one of members, owner, anyone"),
        ({"params": Page()}, "the params of view page must be a pydantic model"),
        ({"params": Anything}, "the params of view page allow any name"),
        ({"version": 0}, "the version of view page must be a number from 1 on"),
    ],
)
def test_a_view_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    declared: dict[str, Any] = {"name": "page", "scope": "order", "load": load, **changes}
    refused(lambda: View(**declared), message)


def test_migrations_are_a_folder_and_no_text() -> None:
    refused(
        lambda: domain_of(migrations="migrations"),
        "migrations must be the Path of a folder, not 'migrations'",
    )


@pytest.mark.parametrize("loader", [load, Async(), functools.partial(load)])
def test_whatever_is_awaited_for_a_session_and_keys_is_a_loader(loader: Any) -> None:  # noqa: ANN401 - any
    @functools.wraps(load)
    def timed(*arguments: Any) -> Any:  # noqa: ANN401 - as given
        return loader(*arguments)

    assert View("page", ORDER, loader).load is loader
    assert View("page", ORDER, timed).load is timed


def test_scope_kinds_need_names_and_types_of_ids() -> None:
    refused(lambda: ScopeKind(""), "scope kind name ''")
    refused(lambda: ScopeKind("order", float), "ids of scope kind order must be of type int or str")  # type: ignore[arg-type]


def test_a_kind_of_an_event_is_no_field_and_not_empty() -> None:
    def field() -> None:
        class Changed(Event):
            kind: str = "order.changed"  # type: ignore[misc]

    def empty() -> None:
        class Changed(Event):
            kind: ClassVar[str] = ""

    def number() -> None:
        class Changed(Event):
            kind: ClassVar[Any] = 7

    refused(field, r"event Changed: `kind` must not be a field")
    refused(empty, "event Changed: `kind` must be a text of 1 to 64 characters, not ''")
    refused(number, "not 7")


def test_an_event_without_a_kind_is_refused_by_its_rule() -> None:
    class OfOrders(Event):
        """The base of others may have none."""

        order_id: int

    class Paid(OfOrders):
        kind = "order.paid"

    assert Rule(Paid, lambda _: []).event is Paid
    refused(
        lambda: Rule(OfOrders, lambda _: []), 'event OfOrders has no `kind`: write `kind = "order.changed"`'
    )
    refused(lambda: Rule(int, lambda _: []), "a rule is for a subclass of Event, not for <class 'int'>")  # type: ignore[type-var]


def test_a_rule_needs_a_plain_function_and_an_async_audience() -> None:
    async def later(_event: OrderChanged) -> list[Invalidation]:
        return []

    def nothing() -> list[Invalidation]:
        return []

    async def audience(_session: AsyncSession, _events: Sequence[OrderChanged]) -> list[Invalidation]:
        return []

    assert Rule(OrderChanged, invalidates, audience).audience is audience
    for wrong, message in (
        (lambda: Rule(OrderChanged, later), "must be a plain function: write `def`, not `async def`"),  # type: ignore[arg-type]
        (lambda: Rule(OrderChanged, "summary"), r"must be a function that takes \(event\), not 'summary'"),  # type: ignore[arg-type]
        (lambda: Rule(OrderChanged, nothing), r"takes \(event\): too many positional"),  # type: ignore[arg-type]
        (lambda: Rule(OrderChanged, invalidates, invalidates), r"takes \(session, events\)"),  # type: ignore[arg-type]
    ):
        refused(wrong, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "a domain needs a name, not ' '"),
        ({"scopes": ORDER}, r"scopes must be a tuple of ScopeKind, not ScopeKind\(name='order'"),
        ({"views": ("summary",)}, r"views must be a tuple of View, not \('summary',\)"),
        ({"rules": (OrderChanged,)}, "rules must be a tuple of Rule"),
        ({"warm_plans": ("active",)}, "warm_plans must be a tuple of WarmPlan"),
        ({"scopes": (ORDER, CUSTOMER, ORDER)}, "declared twice: scope kind order"),
        ({"views": (SUMMARY, PROFILE, SUMMARY)}, "declared twice: view summary"),
        ({"rules": (Rule(OrderChanged, invalidates),) * 2}, "declared twice: event order.changed"),
        (
            {"scopes": (CUSTOMER,)},
            "view summary is of scope kind 'order': declare that scope kind in `scopes`",
        ),
        (
            {"warm_plans": (WarmPlan("orders", entries),)},
            "warm plan 'orders' is neither `active` nor a scope kind",
        ),
        (
            {"schedule": (Every("nightly", Warm(target="order"), timedelta(days=1)),)},
            "schedule nightly: nothing to warm for 'order': the domain has no such warm plan; there are:",
        ),
        (
            {"rules": (Rule(InvalidationRequested, InvalidationRequested.invalidations),)},
            "event InvalidationRequested: kinds that begin with 'stoker.' are Stoker's own",
        ),
    ],
)
def test_a_domain_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    refused(lambda: domain_of(**changes), message)


def test_a_warm_plan_needs_an_async_function() -> None:
    def nothing(_session: AsyncSession, _scope: Scope | None) -> Sequence[EntryKey]:
        return []

    refused(lambda: WarmPlan("active", nothing), "`entries` of the warm plan for 'active' must be an async")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: Invalidation(ORDER.scope(1), "summary"),
            r"a set of views, not 'summary': write \{'summary'\}",
        ),
        (lambda: Invalidation(ORDER.scope(1), SUMMARY), r"a set of views.*: write \{'summary'\}"),  # type: ignore[arg-type]
        (lambda: Invalidation("order:1"), r"needs a Scope, not 'order:1': write ORDER.scope\(order_id\)"),  # type: ignore[arg-type]
    ],
)
def test_an_invalidation_that_cannot_be_is_refused(made: Callable[[], object], message: str) -> None:
    refused(made, message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            [Invalidation(ORDER.scope(1), {"sumary"})],
            "'sumary', which is no view of order; there are: summary",
        ),
        (
            [Invalidation(ORDER.scope(1), {PROFILE})],
            "'profile', which is no view of order; there are: summary",
        ),
        ([Invalidation(Scope("ordr", "1"))], "scope kind 'ordr', .*; there are: customer, order"),
        ([Invalidation(Scope("order", "01"))], "a scope that cannot be: order id '01' is not an integer"),
        ([Invalidation(Scope("order", 1))], r"write order\.scope\(id\) of the ScopeKind"),  # type: ignore[arg-type]
        (Invalidation(ORDER.scope(1)), "must give a list of Invalidations, not Invalidation"),
        (None, "must give a list of Invalidations, not None"),
        ("summary", "must give a list of Invalidations, not 'summary'"),
        (["summary"], "must give Invalidations, not 'summary'"),
    ],
)
def test_what_a_rule_gives_is_checked_against_the_domain(answer: Any, message: str) -> None:  # noqa: ANN401 - any
    refused(lambda: domain_of().checked(answer, "the rule"), message)


def test_what_a_rule_gives_may_be_of_any_iterable_with_names_or_views() -> None:
    one = Invalidation(ORDER.scope(1), [SUMMARY])
    assert one == Invalidation(Scope("order", "1"), frozenset({"summary"}))
    every = Invalidation(CUSTOMER.scope("a"), hard=True)
    assert domain_of().checked(iter((one, every)), "the rule") == [one, every]


KEY = SUMMARY.key(ORDER.scope(1))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {1: {"total": 5}},
            "answered for 1, which was not asked for: return a dict whose keys are the EntryKeys",
        ),
        ({SUMMARY.key(ORDER.scope(2)): 5}, "which was not asked for"),
        (None, "returned a NoneType: return a dict from the keys that it was given"),
        ([KEY], "returned a list: return a dict"),
        ({KEY: {1, object()}}, r"returned a value for order:1/summary\?\{\"limit\":10\} that is not JSON"),
    ],
)
def test_a_loader_that_answers_what_no_loader_may_is_told_so(answer: Any, message: str) -> None:  # noqa: ANN401 - any
    refused(lambda: SUMMARY.bodies([KEY], answer), message)


def test_a_key_that_is_left_out_or_none_does_not_exist() -> None:
    other = SUMMARY.key(ORDER.scope(2))
    assert SUMMARY.bodies([KEY, other], {KEY: {"a": 1}, other: None}) == ({KEY: b'{"a":1}'}, {})


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (Warm(), UnknownScope),
        (Warm(target="order", scope_id="1"), None),
        (Warm(target="order", scope_id="x"), UnknownScope),
        (Warm(target="customer", scope_id="1"), UnknownScope),
        (Refresh(view="summary", scope_id="1", params='{"limit":10}'), None),
        (Refresh(view="summary", scope_id="1", params='{"limit":"x"}'), InvalidParams),
        (Refresh(view="sumary", scope_id="1"), UnknownView),
        (Refresh(view="summary", scope_id="x"), UnknownScope),
        (Invalidate(scope_kind="order", scope_id="1", views=("summary",)), None),
        (Invalidate(scope_kind="order", scope_id="1", views=("profile",)), UnknownView),
        (Invalidate(scope_kind="ordr", scope_id="1"), UnknownScope),
    ],
)
def test_a_job_that_the_domain_cannot_do_is_refused(job: Job, error: type[Exception] | None) -> None:
    domain = domain_of(warm_plans=(WarmPlan(ORDER, entries),))
    if error is None:
        domain.check_job(job)
    else:
        with pytest.raises(error):
            domain.check_job(job)


def test_declarations_stand_for_their_names() -> None:
    guard = View("who", ORDER, load, access=Access.ANYONE)
    page = View("page", ORDER, load, access_view=guard)
    domain = domain_of(views=(SUMMARY, PROFILE, guard, page), warm_plans=(WarmPlan(ORDER, entries),))
    assert (page.scope, page.access_view) == ("order", "who")
    assert domain.view(page) is page
    assert domain.scope(ORDER, 1) == ORDER.scope(1)
    assert domain.key(SUMMARY, 1, {"limit": 10}) == domain.key("summary", 1) == KEY
    assert domain.warm_plan(ORDER).target == "order"


def test_jobs_take_declarations_and_numbers_and_store_names_and_text() -> None:
    assert Refresh(view=SUMMARY, scope_id=1) == Refresh(view="summary", scope_id="1")
    warm = Warm(target=ORDER, scope_id=7).model_dump(mode="json", exclude_defaults=True)
    assert warm == {"target": "order", "scope_id": "7"}
    by_object = Invalidate(scope_kind=ORDER, scope_id=1, views=(SUMMARY,))
    assert by_object == Invalidate(scope_kind="order", scope_id="1", views=("summary",))
    with pytest.raises(ValidationError):
        Refresh(view=5, scope_id=True)


def test_stoker_takes_them_typed() -> None:
    """Checked by mypy."""

    async def typed(stoker: Stoker) -> None:
        await stoker.read(SUMMARY, 17)
        stoker.ttl(SUMMARY)

    assert callable(typed)
