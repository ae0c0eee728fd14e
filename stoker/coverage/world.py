"""A small connected part of the data: rows of each table, and the scopes whose entries they can change.

It grows from sample scopes along keys: a ticket leads to its tenant, that to its agents. A change of one of
its rows is then visible in entries that are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from stoker.cache.view import Scope
from stoker.coverage.facts import ColumnFacts, Facts, Place, TableFacts, families_by_kind
from stoker.domain import Domain
from stoker.errors import UnknownScope

SPARE = 200
"""Rows from which unrelated ids are taken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far it grows."""

    ids: int = 10
    """Ids of each family, so at most so many scopes of a kind that has one family."""
    fewest_ids: int = 5
    """Ids that a family has at least, unrelated ones too: a row may move to a scope that had none."""
    rows: int = 12
    """Rows of each table."""
    rows_of_an_id: int = 2
    """With 4, an audience that misses one member was found, but no change of a member's role showed."""
    rounds: int = 3
    """Steps along keys."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and its values as Postgres writes them; None is NULL. It may be a partition's."""

    ctid: str
    table_oid: int
    values: Mapping[str, str | None]


@dataclass(slots=True)
class World:
    """Rows by table, ids by family, and scopes."""

    facts: Facts
    limits: Limits
    rows: dict[int, dict[tuple[int, str], Row]] = field(default_factory=dict)
    ids: dict[Place, dict[str, None]] = field(default_factory=dict)
    scopes: list[Scope] = field(default_factory=list)

    def rows_of(self, table: TableFacts) -> list[Row]:
        """The rows of a table that are in it."""
        return list(self.rows.get(table.oid, {}).values())

    def add(self, family: Place, one: str) -> None:
        """Take an id, unless there are enough of its family."""
        ids = self.ids.setdefault(family, {})
        if len(ids) < self.limits.ids:
            ids[one] = None

    def ids_like(self, table: TableFacts, column: ColumnFacts) -> list[str]:
        """The ids of a column's family, those that were found last first; none for a plain column."""
        family = self.facts.family_of.get((table.oid, column.name))
        return [] if family is None else list(reversed(self.ids.get(family, {})))


async def grown(
    connection: AsyncConnection,
    domain: Domain,
    facts: Facts,
    seeds: Iterable[Scope],
    limits: Limits = DEFAULT_LIMITS,
) -> World:
    """The part of the data around some scopes."""
    world = World(facts, limits)
    families = families_by_kind(facts, domain.scopes)
    for scope in _by_turns(seeds):
        for family in families[scope.kind]:
            world.add(family, scope.id)
    for _ in range(limits.rounds):
        for place, family in sorted(facts.family_of.items()):
            await _follow(connection, world, place, list(world.ids.get(family, {})))
    for table in facts.tables.values():
        if limits.fewest_ids and not world.rows.get(table.oid):
            any_rows = f"SELECT {columns_of(table)} FROM {table.name} LIMIT {world.limits.rows_of_an_id}"  # noqa: S608 - quoted
            await _take(connection, world, table, any_rows, {})
    for family in {one for of_kind in families.values() for one in of_kind}:
        await _spare(connection, world, family)
    world.scopes = _scopes(domain, families, world)
    return world


async def _follow(connection: AsyncConnection, world: World, place: Place, ids: Sequence[str]) -> None:
    """Take the rows that have these ids in a column, and the ids that they have in others."""
    table = world.facts.tables[place[0]]
    column = table.columns[place[1]]
    if not ids or not table.writable:
        return
    await _take(
        connection,
        world,
        table,
        "SELECT r.* FROM unnest(CAST(:ids AS text[])) AS one(id)"  # noqa: S608 - names that are quoted
        f" CROSS JOIN LATERAL (SELECT {columns_of(table)} FROM {table.name} t"
        f" WHERE t.{column.quoted} = CAST(one.id AS {column.type}) LIMIT {world.limits.rows_of_an_id}) r",
        {"ids": ids},
    )


async def _take(
    connection: AsyncConnection, world: World, table: TableFacts, query: str, values: Mapping[str, object]
) -> None:
    savepoint = await connection.begin_nested()
    try:
        found = (await connection.execute(text(query), values)).all()
    except DBAPIError:  # an id of another type, a table that this role may not read
        await savepoint.rollback()
        return
    await savepoint.commit()
    rows = world.rows.setdefault(table.oid, {})
    for ctid, table_oid, *columns in found:
        if len(rows) >= world.limits.rows:
            return
        row = Row(ctid, table_oid, dict(zip(table.columns, columns, strict=True)))
        rows[table_oid, ctid] = row
        for name, value in row.values.items():
            family = world.facts.family_of.get((table.oid, name))
            if family is not None and value is not None:
                world.add(family, value)


async def _spare(connection: AsyncConnection, world: World, family: Place) -> None:
    """Add ids that the sample does not lead to, up to a few."""
    ids = world.ids.setdefault(family, {})
    for table, column in world.facts.members(family):
        if len(ids) >= world.limits.fewest_ids or not table.writable:
            return
        found = await connection.scalars(
            text(
                f"SELECT DISTINCT CAST(id AS text) FROM (SELECT {column.quoted} AS id FROM {table.name}"  # noqa: S608
                f" LIMIT {SPARE}) spare WHERE id IS NOT NULL ORDER BY 1 LIMIT {world.limits.ids}"
            )
        )
        for one in found:
            if len(ids) < world.limits.fewest_ids:
                world.add(family, one)


def _scopes(domain: Domain, families: Mapping[str, Sequence[Place]], world: World) -> list[Scope]:
    found: dict[Scope, None] = {}
    for kind in domain.scopes:
        for one in dict.fromkeys(one for family in families[kind.name] for one in world.ids.get(family, {})):
            try:
                found[kind.scope(one)] = None
            except UnknownScope:
                continue
    return list(found)


def _by_turns(scopes: Iterable[Scope]) -> list[Scope]:
    """One of each kind after another, so that a bound on their number leaves some of each."""
    by_kind: dict[str, list[Scope]] = {}
    for scope in scopes:
        by_kind.setdefault(scope.kind, []).append(scope)
    turns = zip_longest(*by_kind.values())
    return list(dict.fromkeys(scope for turn in turns for scope in turn if scope is not None))


def columns_of(table: TableFacts) -> str:
    """What a query of `Row`s selects."""
    cast = ", ".join(f"CAST({one.quoted} AS text)" for one in table.columns.values())
    return f"CAST(ctid AS text) AS ctid, CAST(tableoid AS bigint) AS table_oid, {cast}"


def named(table: TableFacts, row: Row) -> str:
    """A row, for people: by its key. What it holds is not shown."""
    key = ", ".join(f"{name}={row.values[name]}" for name in table.primary_key)
    return f"{table.name}({key})" if key else table.name
