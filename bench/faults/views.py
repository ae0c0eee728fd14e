"""Faults of loaders: a view depends on what no event that names it records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.faults.fault import Fault
from bench.faults.ground import LINKS, Ground
from jobs import domain
from stoker import EntryKey, View

Change = Callable[[Any, str], Any]
"""Makes the value of an entry from the old one and the text that was read in addition."""


def shows_a_column(ground: Ground) -> Iterator[Fault]:
    """It shows a column that nothing records for it."""
    return _reads_more(ground, lambda value, more: {**value, "more": more})


def filters_by_a_column(ground: Ground) -> Iterator[Fault]:
    """It hides what has some values of such a column."""
    return _reads_more(ground, lambda value, more: {} if crc32(more.encode()) % 2 else value)


def reads_the_clock(_: Ground) -> Iterator[Fault]:
    """It shows the time of day."""
    for view in domain.views:
        now = "SELECT one AS id, CAST(now() AS text) FROM unnest(CAST(:ids AS bigint[])) AS one"
        yield _fault(view, "now()", now, lambda value, more: {**value, "more": more})


def _reads_more(ground: Ground, change: Change) -> Iterator[Fault]:
    for view in domain.views:
        for table, link in LINKS[view.scope].items():
            for column in ground.columns[table]:
                if not ground.told(view.name, table, column):
                    every = f"string_agg(CAST({column} AS text), ',' ORDER BY CAST({column} AS text))"
                    query = f"SELECT {link}, {every} FROM {table} WHERE {link} = ANY(CAST(:ids AS bigint[])) GROUP BY 1"  # noqa: S608, E501 - names of our own tables
                    yield _fault(view, f"{table}.{column}", query, change)


def _fault(view: View, what: str, query: str, change: Change) -> Fault:
    async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        values = await view.load(session, keys)
        ids = sorted({key.scope.number for key in keys})
        more = {number: said for number, said in await session.execute(text(query), {"ids": ids})}  # noqa: C416
        return {key: change(value, more.get(key.scope.number) or "") for key, value in values.items()}

    faulty = View(
        *(view.name, view.scope, load),
        ttl=view.ttl,
        params=view.params,
        access=view.access,
        access_view=view.access_view,
    )
    return Fault(
        f"{view.name}: {what}",
        replace(domain, views=tuple(faulty if one is view else one for one in domain.views)),
    )
