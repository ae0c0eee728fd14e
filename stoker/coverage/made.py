"""Events that the application records, made from a changed row: for columns that a rule `covers`.

A field takes the column of its name, or of its name and `_id`. One field that no column gives takes the
primary key. An event that cannot be made like this is not tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from stoker.coverage.facts import TableFacts
from stoker.rules import Event, Rule

Values = Mapping[str, str | None]


def made(rule: Rule[Any], table: TableFacts, rows: Iterable[Values]) -> list[Event] | None:
    """The events for a row as it was and as it is, each once; None where one cannot be made."""
    found: dict[str, Event] = {}
    for values in rows:
        event = _event(rule.event, table, values)
        if event is None:
            return None
        found[event.model_dump_json()] = event
    return list(found.values())


def _event(kind: type[Event], table: TableFacts, values: Values) -> Event | None:
    given: dict[str, str | None] = {}
    left: list[str] = []
    for name, field in kind.model_fields.items():
        column = next((one for one in (name, f"{name}_id") if one in table.columns), None)
        if column is not None:
            given[name] = values[column]
        elif field.is_required():
            left.append(name)
    if len(left) == 1 and len(table.primary_key) == 1:
        given[left.pop()] = values[table.primary_key[0]]
    if left:
        return None
    try:
        return kind.model_validate(given)
    except ValidationError:
        return None
