"""The structure of tables: columns and their types, keys, and which columns hold the same ids.

Columns that a foreign key joins are of one family: `books.shelf_id` and `shelves.id`. A value of one of them
leads to the rows of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stoker.cache.view import ScopeKind

PARENTS, COLUMNS, UNIQUE, JOINED = (
    text(files("stoker.coverage").joinpath(f"{name}.sql").read_text())
    for name in ("parents", "facts", "unique", "joined")
)
WRITABLE = "rp"
"""Kinds of relations (pg_class.relkind) whose rows can be changed: tables, partitioned or not."""
Place = tuple[int, str]
"""A column: the oid of its table, and its name."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column."""

    name: str
    type: str
    category: str
    labels: Sequence[str]
    nullable: bool
    given: bool
    has_default: bool

    @property
    def quoted(self) -> str:
        """Its name in SQL."""
        return '"' + self.name.replace('"', '""') + '"'


@dataclass(slots=True)
class TableFacts:
    """One table. `name` is as SQL takes it, `bare` without its schema and quotes."""

    oid: int
    name: str
    bare: str
    kind: str
    columns: dict[str, ColumnFacts] = field(default_factory=dict)
    primary_key: Sequence[str] = ()
    unique: list[Sequence[str]] = field(default_factory=list)
    """The columns of each unique index, the primary key's among them."""

    @property
    def writable(self) -> bool:
        """Whether its rows can be changed."""
        return self.kind in WRITABLE


@dataclass(slots=True)
class Facts:
    """Some tables, and the families of their columns."""

    tables: dict[int, TableFacts]
    family_of: dict[Place, Place] = field(default_factory=dict)
    """The column that stands for the family of a column: keys, joined columns, those named after a kind."""

    def members(self, family: Place) -> Iterator[tuple[TableFacts, ColumnFacts]]:
        """The columns of a family."""
        for (oid, column), one in self.family_of.items():
            if one == family:
                yield self.tables[oid], self.tables[oid].columns[column]


async def facts_of(connection: AsyncConnection, tables: Collection[int], kinds: Sequence[ScopeKind]) -> Facts:
    """What these tables are made of, and those whose rows take rows of them along."""
    values = {"tables": list(await connection.scalars(PARENTS, {"tables": sorted(tables)}))}
    found: dict[int, TableFacts] = {}
    for oid, name, bare, kind, *about in await connection.execute(COLUMNS, values):
        table = found.setdefault(oid, TableFacts(oid, name, bare, kind))
        table.columns[about[0]] = ColumnFacts(*about)
    for oid, primary, columns in await connection.execute(UNIQUE, values):
        found[oid].unique.append(columns)
        if primary:
            found[oid].primary_key = columns
    facts = Facts(found)
    names = {name for kind in kinds for name in _names(kind)}
    for table in found.values():
        for column in table.columns:
            if column in table.primary_key or column in names:
                facts.family_of[table.oid, column] = (table.oid, column)
    for oid, column, other_oid, other in await connection.execute(JOINED, values):
        _join(facts.family_of, (oid, column), (other_oid, other))
    return facts


def families_by_kind(facts: Facts, kinds: Sequence[ScopeKind]) -> Mapping[str, Sequence[Place]]:
    """The families that hold ids of each scope kind: by names of columns and tables, else all keys."""
    found: dict[str, Sequence[Place]] = {}
    for kind in kinds:
        named = {
            family
            for (oid, column), family in facts.family_of.items()
            if column in _names(kind)
            or ([column] == list(facts.tables[oid].primary_key) and facts.tables[oid].bare in _tables(kind))
        }
        found[kind.name] = sorted(named or set(facts.family_of.values()))
    return found


def _names(kind: ScopeKind) -> tuple[str, ...]:
    return kind.name, f"{kind.name}_id"


def _tables(kind: ScopeKind) -> tuple[str, ...]:
    return kind.name, f"{kind.name}s", f"{kind.name}es", f"{kind.name[:-1]}ies"


def _join(family_of: dict[Place, Place], one: Place, other: Place) -> None:
    first, second = family_of.setdefault(one, one), family_of.setdefault(other, other)
    for place, family in family_of.items():
        if family == first:
            family_of[place] = second
