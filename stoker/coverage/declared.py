"""What the domain declares about each column: which captures watch it, which rules cover it.

The database is asked only what the names of tables stand for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stoker.captures.declared import Capture
from stoker.domain import Domain
from stoker.errors import DeclarationError
from stoker.rules import Rule

EVERY = "*"
"""Stands for all columns of a table."""
KEY = text(
    "SELECT CAST(a.attname AS text) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
    " AND a.attnum = ANY(i.indkey) WHERE i.indrelid = CAST(CAST(:table AS bigint) AS oid) AND i.indisprimary"
)


@dataclass(slots=True)
class Declared:
    """By table: the columns of each declaration, and what it is called."""

    captures: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    rules: dict[int, list[tuple[str, Rule[Any]]]] = field(default_factory=dict)

    @property
    def tables(self) -> set[int]:
        """Tables of which something is declared."""
        return self.captures.keys() | self.rules.keys()

    def records(self, table: int, column: str) -> tuple[str, ...]:
        """What records the changes of a column; of the rows, for an empty name."""
        captures = [f"capture {kind}" for one, kind in self.captures.get(table, ()) if _is(one, column)]
        rules = [f"rule {rule.event.kind}" for rule in self.rules_for(table, column)]
        return tuple(dict.fromkeys([*rules, *captures]))

    def rules_for(self, table: int, column: str) -> list[Rule[Any]]:
        """The rules that cover a column; any of the table's, for an empty name."""
        found = [rule for one, rule in self.rules.get(table, ()) if _is(one, column)]
        return list({rule.event.kind: rule for rule in found}.values())

    def watches(self, table: int, column: str) -> bool:
        """Whether something is declared of a column."""
        both = [*self.captures.get(table, ()), *self.rules.get(table, ())]
        return any(_is(one, column) for one, _ in both)


async def declared(connection: AsyncConnection, domain: Domain) -> Declared:
    """What a domain declares; raises DeclarationError for a table that does not exist."""
    found = Declared()
    for rule in domain.rules:
        for one in rule.covers:
            table, _, column = one.rpartition(".")
            oid = await _oid(connection, table, f"rule for {rule.event.kind!r}: covers")
            found.rules.setdefault(oid, []).append((column, rule))
    for capture in domain.captures:
        oid = await _oid(connection, capture.table, "capture:")
        for column in await _watched(connection, capture, oid):
            found.captures.setdefault(oid, []).append((column, capture.event.kind))
    return found


async def _watched(connection: AsyncConnection, capture: Capture, table: int) -> Iterable[str]:
    """The columns whose changes a capture records: those it names and the key; without a key, all."""
    key = list(await connection.scalars(KEY, {"table": table}))
    if capture.columns is None or not key:
        return [EVERY]
    return [*capture.columns, *capture.fields.values(), *key]


def _is(declared_: str, column: str) -> bool:
    return not column or declared_ in (column, EVERY)


async def _oid(connection: AsyncConnection, table: str, whose: str) -> int:
    oid = await connection.scalar(text("SELECT CAST(to_regclass(:table) AS oid)"), {"table": table})
    if oid is None:
        raise DeclarationError(f"{whose} table {table!r:.80}, which the database does not have")
    return int(oid)
