"""Entries that stand for a view, found in the data: no application has to declare them.

Warm plans give some. For a view that they leave out, its loader is asked about ids that the tables which it
reads hold: values of their keys, and of columns that are named after the scope kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pydantic_core import PydanticUndefined
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker.cache.view import EntryKey, Scope, View
from stoker.coverage.resolve import Column
from stoker.domain import Domain
from stoker.errors import InvalidParams, UnknownScope
from stoker.warm_plans import ACTIVE

OF_A_VIEW = 3
"""Scopes that are sampled for each view."""
TRIED = 20
"""Ids from each column that are tried at most."""
KEY_COLUMNS = text(
    "SELECT CAST(CAST(a.attrelid AS regclass) AS text), quote_ident(a.attname) FROM pg_attribute a"
    " WHERE a.attrelid = ANY(CAST(:tables AS oid[])) AND a.attnum > 0 AND NOT a.attisdropped"
    " AND (a.attname IN (:name, :name_id) OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid"
    "      AND i.indisprimary AND a.attnum = ANY(i.indkey)))"
    " ORDER BY a.attname NOT IN (:name, :name_id), a.attrelid, a.attnum"
)


async def warmed(session: AsyncSession, domain: Domain) -> list[Scope]:
    """The scopes of what the warm plan for everybody names."""
    plans = [plan for plan in domain.warm_plans if plan.target == ACTIVE]
    keys = [key for plan in plans for key in await plan.entries(session, None)]
    return list(dict.fromkeys(key.scope for key in keys))


async def candidates(
    connection: AsyncConnection, domain: Domain, view: View, read: Collection[Column]
) -> list[Scope]:
    """Scopes that the tables which a view reads may hold."""
    kind = domain.kinds_by_name[view.scope]
    values = {"tables": sorted({one.table_oid for one in read}), "name": kind.name}
    columns = (await connection.execute(KEY_COLUMNS, {**values, "name_id": f"{kind.name}_id"})).all()
    found: dict[Scope, None] = {}
    for table, column in columns:
        ids = await connection.scalars(
            text(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT {TRIED}")  # noqa: S608 - quoted by Postgres
        )
        found.update(dict.fromkeys(_scopes(kind.scope, ids)))
    return list(found)


def keys_of(view: View, scopes: Iterable[Scope]) -> list[EntryKey]:
    """Keys of a view: with default parameters, and with each value of a parameter that has few."""
    found: dict[EntryKey, None] = {}
    for scope in scopes:
        for params in _params(view):
            try:
                found[view.key(scope, params)] = None
            except InvalidParams:
                continue
    return list(found)


def _params(view: View) -> Iterator[dict[str, Any]]:
    if view.params is None:
        yield {}
        return
    schema = view.params.model_json_schema()
    shapes: dict[str, Any] = schema.get("properties", {})
    needed = {name: _some(shapes[name]) for name in schema.get("required", ())}
    yield needed
    for name, shape in shapes.items():
        for value in _few(shape, schema):
            yield {**needed, name: value}


def _some(shape: dict[str, Any]) -> Any:  # noqa: ANN401 - of any parameter
    """A value for a parameter without a default; one that does not fit is left out by `keys_of`."""
    few = _few(shape, {})
    if few:
        return few[0]
    return {"integer": shape.get("minimum", 1), "number": 1, "string": "a"}.get(
        str(shape.get("type")), PydanticUndefined
    )


def _few(shape: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    """The values of a parameter that has only few: an enumeration, a boolean."""
    found: list[Any] = []
    for one in [shape, *shape.get("anyOf", ())]:
        named = str(one.get("$ref", "")).removeprefix("#/$defs/")
        resolved = schema.get("$defs", {}).get(named, one)
        found += resolved.get("enum", ())
        found += [resolved["const"]] if "const" in resolved else []
        found += [False, True] if resolved.get("type") == "boolean" else []
    return found


def _scopes(scope_of: Any, ids: Iterable[object]) -> Iterator[Scope]:  # noqa: ANN401 - ScopeKind.scope
    for one in ids:
        try:
            yield scope_of(one)
        except UnknownScope:
            continue
