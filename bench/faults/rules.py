"""Faults of rules: what they name is altered on its way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from bench.faults.fault import Fault
from bench.faults.ground import Ground
from jobs import domain
from stoker import Invalidation, Rule

Alter = Callable[[Iterable[Invalidation]], Iterable[Invalidation]]
Leave = Callable[[list[Invalidation]], list[Invalidation]]


def forgets_a_view(ground: Ground) -> Iterator[Fault]:
    """One view is left out wherever the rule names it."""
    for rule in domain.rules:
        for kind, view, _ in sorted(ground.named[rule.event.kind]):

            def alter(
                found: Iterable[Invalidation], kind: str = kind, view: str = view
            ) -> list[Invalidation]:
                return [left for one in found if (left := _without(one, kind, view)) is not None]

            yield _fault(rule, view, alter)


def forgets_a_scope_kind(ground: Ground) -> Iterator[Fault]:
    """Scopes of one kind are left out."""
    for rule, kind in _kinds(ground):

        def alter(found: Iterable[Invalidation], kind: str = kind) -> list[Invalidation]:
            return [one for one in found if one.scope.kind != kind]

        yield _fault(rule, f"every {kind}", alter)


def names_another_scope(ground: Ground) -> Iterator[Fault]:
    """The scope after the right one."""
    for rule, kind in _kinds(ground):

        def alter(found: Iterable[Invalidation], kind: str = kind) -> list[Invalidation]:
            return [_next(one) if one.scope.kind == kind else one for one in found]

        yield _fault(rule, f"another {kind}", alter)


def is_soft(ground: Ground) -> Iterator[Fault]:
    """Softly, what was hard."""
    for rule in domain.rules:
        if any(hard for _, _, hard in ground.named[rule.event.kind]):
            yield _fault(
                rule, "all that it names", lambda found: [Invalidation(one.scope, one.views) for one in found]
            )


def misses_some_of_its_audience(_: Ground) -> Iterator[Fault]:
    """The audience's first or last scope, or those with odd ids, are left out."""
    missed: dict[str, Leave] = {
        "the lowest id": lambda found: sorted(found, key=_number)[1:],
        "the highest id": lambda found: sorted(found, key=_number)[:-1],
        "odd ids": lambda found: [one for one in found if _number(one) % 2 == 0],
    }
    for rule in domain.rules:
        if rule.audience is not None:
            for who, leave in missed.items():
                yield _fault(rule, who, partial(_left, leave), only_audience=True)


def _fault(rule: Rule[Any], where: str, alter: Alter, *, only_audience: bool = False) -> Fault:
    async def audience(session: AsyncSession, events: Sequence[Any]) -> Iterable[Invalidation]:
        assert rule.audience is not None
        return alter(await rule.audience(session, events))

    altered = replace(
        rule,
        invalidates=rule.invalidates if only_audience else lambda event: alter(rule.invalidates(event)),
        audience=rule.audience and audience,
    )
    rules = tuple(altered if one is rule else one for one in domain.rules)
    return Fault(f"{rule.event.kind}: {where}", replace(domain, rules=rules))


def _left(leave: Leave, found: Iterable[Invalidation]) -> list[Invalidation]:
    return leave(list(found))


def _kinds(ground: Ground) -> Iterator[tuple[Rule[Any], str]]:
    for rule in domain.rules:
        for kind in sorted({kind for kind, _, _ in ground.named[rule.event.kind]}):
            yield rule, kind


def _without(one: Invalidation, kind: str, view: str) -> Invalidation | None:
    if one.scope.kind != kind:
        return one
    left = (one.views or domain.view_names_by_scope[kind]) - {view}
    return Invalidation(one.scope, left, one.hard) if left else None


def _next(one: Invalidation) -> Invalidation:
    return Invalidation(one.scope._replace(id=str(_number(one) + 1)), one.views, one.hard)


def _number(one: Invalidation) -> int:
    return one.scope.number
