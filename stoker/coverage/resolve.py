"""What a statement reads, by Postgres itself: the dependencies of a function whose body it is.

Postgres parses the body when the function is made, and notes each table and column that it refers to. That
happens in a savepoint, in the session's own temporary schema, and is rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple

from asyncpg.exceptions import PostgresError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

READS = text(files("stoker.coverage").joinpath("reads.sql").read_text())
NAME = "stoker_cover"
MADE = text("SELECT oid FROM pg_proc WHERE proname = :name AND pronamespace = pg_my_temp_schema()")
TYPES = text(
    "SELECT format_type(one, NULL) FROM unnest(CAST(:oids AS oid[])) WITH ORDINALITY AS given(one, place)"
    " ORDER BY place"
)
READ_NOTHING = ("set ", "show ", "reset ", "savepoint ", "release ", "rollback ", "begin", "commit")
"""How statements begin that no function can hold, and that read no table."""
MAKE = """CREATE FUNCTION pg_temp.{name}({types}) RETURNS void LANGUAGE sql BEGIN ATOMIC
{statement}
; END"""
SHOWN = 60
"""Characters of a statement in a message."""


class Column(NamedTuple):
    """A column that is read. `name` is empty where only the rows of the table count, as in `count(*)`."""

    table_oid: int
    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name or '(rows)'}"


@dataclass(slots=True)
class Reads:
    """What statements read, and what could not be found out about them."""

    columns: set[Column] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)


async def resolve(connection: AsyncConnection, statement: str, into: Reads) -> None:
    """Add what a statement reads; what Postgres does not say goes to `unseen`."""
    if statement.lstrip().lower().startswith(READ_NOTHING):
        return
    raw: Any = await connection.get_raw_connection()
    savepoint = await connection.begin_nested()
    try:
        prepared = await raw.driver_connection.prepare(statement)
        oids = [one.oid for one in prepared.get_parameters()]
        types = ", ".join(await connection.scalars(TYPES, {"oids": oids})) if oids else ""
        await raw.driver_connection.execute(MAKE.format(name=NAME, types=types, statement=statement))
        made = await connection.scalar(MADE, {"name": NAME})
        for table_oid, table, column, unseen in await connection.execute(READS, {"function": made}):
            if unseen is not None:
                into.unseen.add(f"{unseen}: what it reads is not known")
            else:
                into.columns.add(Column(table_oid, table, column or ""))
    except (PostgresError, DBAPIError) as error:
        said = str(error).splitlines()[0]
        into.unseen.add(f"the statement {' '.join(statement.split()):.{SHOWN}} was not resolved: {said}")
    finally:
        await savepoint.rollback()
