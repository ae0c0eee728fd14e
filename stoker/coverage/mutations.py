"""The changes that are tried: of one column of a row, of a row that is added, of one that is removed.

Each is a statement. Whether it runs in a transaction that is rolled back is up to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product, zip_longest
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stoker.coverage.facts import ColumnFacts, TableFacts
from stoker.coverage.values import made, others
from stoker.coverage.world import SPARE, Row, World, columns_of, named

ADDED, REMOVED = "(row added)", "(row removed)"
"""Stand in for a column where whole rows are added or removed."""
THERE = 4
"""Values of other rows that are tried."""
COPIES = 6
"""Attempts to add a row like another one."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of one row; `before` is None for a row that is added. The statement returns a `Row`."""

    table: TableFacts
    what: str
    """The column; or ADDED or REMOVED."""
    before: Row | None
    statement: str
    values: Mapping[str, Any]

    @property
    def column(self) -> str:
        """The column; empty for a whole row."""
        return "" if self.what in (ADDED, REMOVED) else self.what

    def about(self, after: Row) -> str:
        """The row, for people: by its key. What it holds is not shown."""
        return named(self.table, self.before or after)


async def of_column(
    connection: AsyncConnection, world: World, table: TableFacts, column: ColumnFacts
) -> list[Mutation]:
    """Changes of a column: of each row another value, then of each the next one."""
    query = (
        f"SELECT DISTINCT CAST(one AS text) FROM (SELECT {column.quoted} AS one FROM {table.name}"  # noqa: S608
        f" LIMIT {SPARE}) spare WHERE one IS NOT NULL ORDER BY 1 LIMIT {THERE}"
    )
    there = list(await connection.scalars(text(query)))
    # A key of one column is never another row's.
    ids = [] if [column.name] in [list(key) for key in table.unique] else world.ids_like(table, column)
    by_row = []
    for number, row in enumerate(world.rows_of(table)):
        values = others(column, row.values[column.name], ids, there)
        first = number % len(values) if values else 0
        by_row.append([_updated(table, column, row, value) for value in values[first:] + values[:first]])
    return [one for turn in zip_longest(*by_row) for one in turn if one is not None]


def of_rows_removed(world: World, table: TableFacts) -> list[Mutation]:
    """Removals of rows."""
    statement = f"DELETE FROM {table.name} WHERE {_THIS} RETURNING {columns_of(table)}"  # noqa: S608
    return [Mutation(table, REMOVED, row, statement, _this(row)) for row in world.rows_of(table)]


def of_rows_added(world: World, table: TableFacts) -> list[Mutation]:
    """Rows like those that there are, with other keys."""
    by_row = [list(islice(_copies(world, table, row), COPIES)) for row in world.rows_of(table)]
    return [one for turn in zip_longest(*by_row) for one in turn if one is not None]


_THIS = "ctid = CAST(CAST(:this_ctid AS text) AS tid) AND tableoid = CAST(CAST(:this_table AS bigint) AS oid)"


def _this(row: Row) -> dict[str, Any]:
    return {"this_ctid": row.ctid, "this_table": row.table_oid}


def _updated(table: TableFacts, column: ColumnFacts, row: Row, value: str | None) -> Mutation:
    return Mutation(
        table,
        column.name,
        row,
        f"UPDATE {table.name} SET {column.quoted} = {_value(column, 'new')} WHERE {_THIS}"  # noqa: S608
        f" RETURNING {columns_of(table)}",
        {"new": value, **_this(row)},
    )


def _copies(world: World, table: TableFacts, row: Row) -> Iterator[Mutation]:
    """Statements that add a row like this one; each differs in one column of every unique index.

    A key with a default takes it first; where the default is taken, as after a load, a made one.
    """
    given = [one for one in table.columns.values() if one.given]
    by_itself = [one for one in given if not (one.name in table.primary_key and one.has_default)]
    for columns in [by_itself, given] if len(by_itself) < len(given) else [given]:
        names = {one.name for one in columns}
        keys = [_different(world, table, row, key) for key in table.unique if set(key) <= names]
        for changes in product(*keys):
            values = {**row.values, **{name: value for change in changes for name, value in change.items()}}
            yield _copy(table, columns, values)


def _copy(table: TableFacts, columns: Sequence[ColumnFacts], values: Mapping[str, str | None]) -> Mutation:
    statement = (
        f"INSERT INTO {table.name} ({', '.join(one.quoted for one in columns)})"  # noqa: S608 - quoted
        f" VALUES ({', '.join(_value(one, f'v{at}') for at, one in enumerate(columns))})"
        f" RETURNING {columns_of(table)}"
    )
    return Mutation(
        table, ADDED, None, statement, {f"v{at}": values[one.name] for at, one in enumerate(columns)}
    )


def _different(world: World, table: TableFacts, row: Row, key: Sequence[str]) -> list[dict[str, str | None]]:
    """Changes of a row that give it another key: ids that there are, for one column after the other."""
    by_column: list[list[dict[str, str | None]]] = []
    for name in key:
        column, old = table.columns[name], row.values[name]
        alone = len(key) == 1
        values = [*made(column, old)] if alone else world.ids_like(table, column) or [*made(column, old)]
        by_column.append([{name: value} for value in values if value != old])
    return [one for turn in zip_longest(*by_column) for one in turn if one is not None]


def _value(column: ColumnFacts, name: str) -> str:
    return f"CAST(CAST(:{name} AS text) AS {column.type})"
