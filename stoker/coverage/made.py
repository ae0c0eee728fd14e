"""Events that the application records, made from a changed row: for columns that a rule `covers`.

A field takes the column of its name, or of its name and `_id`. One field that no column gives takes the
primary key. What no column gives may come from a function of the application's tests. An event that cannot be
made like this is not tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker.coverage.facts import TableFacts
from stoker.rules import Event, Rule

Values = Mapping[str, str | None]
"""A row, as Postgres writes its values."""
Fields = Mapping[type[Event], Callable[[AsyncSession, Values], Awaitable[Mapping[str, Any]]]]
"""Fields of events that no column gives: for a class or its base, an async function of (session, row)."""


@dataclass(slots=True)
class Seen:
    """A row as a writer sees it, and what else its events need to know at that moment."""

    values: Values
    fields: dict[type[Event], Mapping[str, Any]] = field(default_factory=dict)


async def seen(
    connection: AsyncConnection, rules: Sequence[Rule[Any]], fields: Fields, values: Values
) -> Seen:
    """What a writer sees of a row now."""
    found = Seen(values)
    for rule in rules:
        asked = next((fields[one] for one in rule.event.__mro__ if one in fields), None)
        if asked is not None:
            async with AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session:
                found.fields[rule.event] = await asked(session, values)
    return found


def made(rule: Rule[Any], table: TableFacts, rows: Iterable[Seen]) -> list[Event] | None:
    """The events for a row as it was and as it is, each once; None where one cannot be made."""
    found: dict[str, Event] = {}
    for row in rows:
        event = _event(rule.event, table, row.values, row.fields.get(rule.event, {}))
        if event is None:
            return None
        found[event.model_dump_json()] = event
    return list(found.values())


def _event(kind: type[Event], table: TableFacts, values: Values, more: Mapping[str, Any]) -> Event | None:
    given: dict[str, Any] = {}
    left: list[str] = []
    for name, one in kind.model_fields.items():
        column = next((one for one in (name, f"{name}_id") if one in table.columns), None)
        if name in more:
            given[name] = more[name]
        elif column is not None:
            given[name] = values[column]
        elif one.is_required():
            left.append(name)
    if len(left) == 1 and len(table.primary_key) == 1:
        given[left.pop()] = values[table.primary_key[0]]
    if left:
        return None
    try:
        return kind.model_validate(given)
    except ValidationError:
        return None
