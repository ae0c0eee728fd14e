"""Recorded events in tests: apply them without a worker, find them, and assert what they invalidate."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import func, select

from stoker.cache.view import EntryKey
from stoker.domain import Domain
from stoker.errors import DeclarationError
from stoker.handlers import relay
from stoker.outbox.rows import Alike
from stoker.postgres import database_errors, fetched
from stoker.rules import Event, Invalidation
from stoker.stoker import Stoker
from stoker.tables import cache_events
from stoker.testing.found import check_fields, has, listed, named, shown

E = TypeVar("E", bound=Event)
Entry = EntryKey | tuple[Any, ...]
"""A key, or its parts: (view, scope id) or (view, scope id, params)."""


async def apply(stoker: Stoker) -> int:
    """Apply everything that is recorded and committed, as a worker would; returns how many events that were.

    Raises CacheUnavailable or DatabaseUnavailable; the events then stay as they were.
    """
    return await relay.apply_all(stoker)


async def assert_recorded(stoker: Stoker, kind: type[E], **fields: Any) -> E:  # noqa: ANN401 - of the event
    """The first event of this class with these fields that a committed transaction has recorded.

    Events that are applied count, too. AssertionError says which events there are.
    """
    __tracebackhide__ = True
    check_fields(kind, fields)
    there = [(row["kind"], _event(stoker.domain, row)) for row in await _rows(stoker, 0)]
    for _, event in there:
        if type(event) is kind and has(event, fields):
            return event
    wanted = named(kind.kind, fields) if fields else kind.kind
    said = listed(f"{name} for all rows" if event is None else shown(event, name) for name, event in there)
    raise AssertionError(f"no {wanted} was recorded; recorded were: {said}")


async def assert_invalidates(stoker: Stoker, change: Event | Awaitable[object], *entries: Entry) -> None:
    """Assert that an event, or what an awaitable records and commits, invalidates each of these entries.

    An entry is (view, scope id) or (view, scope id, params). The event is not recorded; its rule and the
    rule's audience are asked. An awaitable is awaited, such as the call of a function that writes; its events
    are not applied. AssertionError says what is invalidated instead.
    """
    __tracebackhide__ = True
    keys = [entry if isinstance(entry, EntryKey) else stoker.domain.key(*entry) for entry in entries]
    if not keys:
        raise TypeError("name the entries: assert_invalidates(stoker, change, (view, scope_id), ...)")
    if isinstance(change, Event):
        found, whose = await _of_event(stoker, change), shown(change, change.kind)
    else:
        before = await _newest(stoker)
        await change
        rows = await _rows(stoker, before)
        found, whose = await _of_rows(stoker, rows), listed(row["kind"] for row in rows)
    if left := [key for key in keys if not any(one.covers(key) for one in found)]:
        raise AssertionError(
            f"{whose} does not invalidate {listed(map(_of_key, left))}; it invalidates: "
            f"{listed(sorted(map(_of_invalidation, found)))}"
        )


async def _of_event(stoker: Stoker, event: Event) -> frozenset[Invalidation]:
    rule = stoker.domain.rules_by_kind.get(event.kind)
    if rule is None:
        known = ", ".join(stoker.domain.rules_by_kind) or "none"
        raise DeclarationError(f"no rule for {type(event).__name__} ({event.kind}); there are: {known}")
    found = stoker.domain.checked(rule.invalidates(event), f"the rule for {event.kind}")
    if rule.audience is not None:
        async with stoker.session() as session:
            asked = await rule.audience(session, [event])
        found += stoker.domain.checked(asked, f"the audience of {event.kind}")
    return frozenset(found)


async def _of_rows(stoker: Stoker, rows: Iterable[Any]) -> frozenset[Invalidation]:
    said = [
        Alike(row["kind"], json.dumps(row["scopes"]), json.dumps(row["payload"]), 0, None, [row["id"]])
        for row in rows
    ]
    with database_errors():
        async with stoker.engine.connect() as connection:
            folded = await relay.fold(connection, stoker.domain, said)
    for _, error in folded.failed.values():
        raise AssertionError(f"a recorded event cannot be applied: {error}")
    return folded.invalidations


async def _newest(stoker: Stoker) -> int:
    [row] = await fetched(stoker.engine, select(func.max(cache_events.c.id).label("id")))
    return row["id"] or 0


async def _rows(stoker: Stoker, after: int) -> Any:  # noqa: ANN401 - rows
    query = select(cache_events).where(cache_events.c.id > after, cache_events.c.kind != "")
    return await fetched(stoker.engine, query.order_by(cache_events.c.id))


def _event(domain: Domain, row: Any) -> Event | None:  # noqa: ANN401 - a row
    rule = domain.rules_by_kind.get(row["kind"])
    try:
        return rule.event.model_validate(row["payload"]) if rule else None
    except ValidationError:
        return None


def _of_key(key: EntryKey) -> str:
    return f"{key.view} of {key.scope.kind}:{key.scope.id}"


def _of_invalidation(one: Invalidation) -> str:
    views = ", ".join(sorted(one.views)) or "every view"
    return f"{views} of {one.scope.kind}:{one.scope.id}"
