"""The captures that are in the database, and how they differ from the declared ones. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stoker.captures.declared import Capture
from stoker.captures.function import COMMENT, Generated, generate, name_of
from stoker.captures.table import facts_of
from stoker.errors import DeclarationError

FUNCTIONS, TRIGGERS = (
    text(statement)
    for statement in files("stoker.captures").joinpath("standing.sql").read_text().split(";\n")
)


class State(StrEnum):
    """How a capture in the database compares with the declared one."""

    SAME = "same"
    MISSING = "missing"
    """Declared; the database records nothing, or not from every table that can be written."""
    CHANGED = "changed"
    """Made from another declaration, or for a table that has changed since."""
    LEFT = "left"
    """In the database, but not declared; or on a table that the capture no longer belongs to."""
    WRONG = "wrong"
    """Declared, but the table does not allow it."""


@dataclass(frozen=True, order=True, slots=True)
class Placed:
    """A trigger in the database."""

    table: str
    name: str
    fires: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A trigger function in the database, and its triggers."""

    name: str
    comment: str
    triggers: frozenset[Placed]


@dataclass(frozen=True, slots=True)
class Compared:
    """One capture, declared or not: what is to do about it."""

    name: str
    state: State
    table: str
    kind: str
    """Of the recorded event."""
    said: str = ""
    """What differs, in words."""
    wanted: Generated | None = None
    standing: Standing | None = None

    @property
    def missing(self) -> frozenset[Placed]:
        """Triggers to make, or to make anew."""
        return _wanted(self.wanted) - (self.standing.triggers if self.standing else frozenset())

    @property
    def left(self) -> frozenset[tuple[str, str]]:
        """Table and name of triggers to drop."""
        wanted = {(one.table, one.name) for one in _wanted(self.wanted)}
        standing = self.standing.triggers if self.standing else frozenset()
        return frozenset({(one.table, one.name) for one in standing} - wanted)


async def compare(connection: AsyncConnection, captures: Sequence[Capture], schema: str) -> list[Compared]:
    """Every declared capture, and every one that is only in the database."""
    found = {one.name: one for one in await standing(connection, schema)}
    compared = []
    for capture in captures:
        try:
            wanted = generate(capture, await facts_of(connection, capture), schema)
        except DeclarationError as error:
            name = name_of(capture)
            found.pop(name, None)
            compared.append(Compared(name, State.WRONG, capture.table, capture.event.kind, str(error)))
            continue
        compared.append(_compared(wanted, found.pop(wanted.name, None)))
    return [*compared, *map(_undeclared, found.values())]


async def standing(connection: AsyncConnection, schema: str) -> list[Standing]:
    """The captures that stand in the database."""
    functions = (await connection.execute(FUNCTIONS, {"schema": schema, "comment": f"{COMMENT} "})).all()
    triggers = (await connection.execute(TRIGGERS, {"oids": [one.oid for one in functions]})).all()
    return [
        Standing(
            function.name,
            function.comment,
            frozenset(Placed(*row[1:]) for row in triggers if row.function == function.oid),
        )
        for function in functions
    ]


def _compared(wanted: Generated, found: Standing | None) -> Compared:
    kind = wanted.capture.event.kind
    if found is None:
        return Compared(wanted.name, State.MISSING, wanted.table, kind, "not made yet", wanted)
    one = Compared(wanted.name, State.SAME, wanted.table, kind, "", wanted, found)
    if one.missing:
        tables = ", ".join(sorted({placed.table for placed in one.missing}))
        return _as(one, State.MISSING, f"triggers are missing, or disabled, on {tables}")
    if found.comment != wanted.comment:
        return _as(one, State.CHANGED, "made from another declaration, or before the table changed")
    if one.left:
        return _as(one, State.LEFT, f"triggers are left on {', '.join(sorted({at for at, _ in one.left}))}")
    return one


def _undeclared(found: Standing) -> Compared:
    _, _, rest = found.comment.partition(": ")
    table, _, kind = rest.partition(" records ")
    return Compared(found.name, State.LEFT, table, kind, "not declared", standing=found)


def _as(one: Compared, state: State, said: str) -> Compared:
    return Compared(one.name, state, one.table, one.kind, said, one.wanted, one.standing)


def _wanted(generated: Generated | None) -> frozenset[Placed]:
    if generated is None:
        return frozenset()
    return frozenset(Placed(one.table, one.name, one.fires) for one in generated.triggers)
