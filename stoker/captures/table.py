"""What the database says of a captured table: columns, primary key, and the tables that inherit from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from stoker.captures.declared import Capture
from stoker.errors import DeclarationError

TABLE, COLUMNS, KEY, WRITTEN = (
    text(statement)
    for statement in files("stoker.captures").joinpath("table.sql").read_text().split(";\n")
    if statement.strip()
)
TABLES = ("r", "p")
"""Kinds of relations that have transition tables: plain and partitioned tables."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, as the trigger uses it."""

    nullable: bool
    virtual: bool
    """Computed when it is read, so that a trigger does not see it."""
    is_text: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A table that a statement can name to write captured rows: the table itself, or one that inherits."""

    oid: int
    name: str
    is_partition: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A captured table. `name` as SQL takes it anywhere."""

    oid: int
    name: str
    columns: Mapping[str, Column]
    key: Sequence[tuple[str, str]]
    """Column of the primary key, and the operator that compares it; empty without one."""
    written: Sequence[Written]


async def facts_of(connection: AsyncConnection, capture: Capture) -> TableFacts:
    """The facts of a capture's table; raises DeclarationError where it cannot be captured as declared."""
    try:
        async with connection.begin_nested():
            found = (await connection.execute(TABLE, {"name": capture.table})).one_or_none()
    except ProgrammingError:  # before Postgres 16, a name that cannot be is an error
        found = None
    if found is None:
        raise DeclarationError(
            f"capture of {capture.table!r}: there is no such table; run the migrations that make it first"
        )
    if found.kind not in TABLES:
        raise DeclarationError(f"capture of {capture.table!r}: only tables can be captured")
    of = {"oid": found.oid}
    columns = {
        row.name: Column(row.nullable, row.virtual, row.is_text)
        for row in await connection.execute(COLUMNS, of)
    }
    key = [(row.name, row.operator) for row in await connection.execute(KEY, of)]
    written = [Written(*row) for row in await connection.execute(WRITTEN, of)]
    facts = TableFacts(found.oid, found.name, columns, key, written)
    _check(capture, facts)
    return facts


def _check(capture: Capture, facts: TableFacts) -> None:
    what = f"capture of {facts.name}"
    for name in (*capture.fields.values(), *(capture.columns or ())):
        column = facts.columns.get(name)
        if column is None:
            raise DeclarationError(
                f"{what}: it has no column {name!r}; there are: {', '.join(facts.columns)}"
            )
        if column.virtual:
            raise DeclarationError(
                f"{what}: {name!r} is a virtual generated column, which triggers do not see: name the "
                "columns that it is made of"
            )
    for field, name in capture.fields.items():
        if facts.columns[name].nullable and not _takes_null(capture, field):
            raise DeclarationError(
                f"{what}: {name!r} may be NULL, which {capture.event.__name__}.{field} does not take: "
                "declare the field with `| None`, or the column NOT NULL"
            )


def _takes_null(capture: Capture, field: str) -> bool:
    takes: Any = capture.event.model_fields[field].annotation
    try:
        TypeAdapter(takes).validate_python(None)
    except ValidationError:
        return False
    return True
