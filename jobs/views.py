"""The seven cached views: what each is called, how long it lives, who may read it, how it is built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.params import ExportParams, ListParams, SearchParams
from jobs.queries import access, dashboards, details, exports, lists, searches, stats
from jobs.queries.export import as_csv
from jobs.queries.statement import Value
from jobs.scopes import PROJECT, USER
from stoker import Access, EntryKey, View

ById = Callable[[AsyncSession, Iterable[int]], Awaitable[Mapping[int, Value]]]
Values = dict[EntryKey, Value]


def _plain(query: ById) -> Callable[[AsyncSession, Sequence[EntryKey]], Awaitable[Values]]:
    """The loader of a view without parameters, over a query by ids."""

    async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Values:
        found = await query(session, {key.scope.number for key in keys})
        return {key: found[key.scope.number] for key in keys if key.scope.number in found}

    return load


async def _load_exports(session: AsyncSession, keys: Sequence[EntryKey]) -> Values:
    found = await exports(session, {key.scope.number for key in keys})
    return {
        key: as_csv(value) if EXPORT.params_of(key).format == "csv" else value
        for key in keys
        if (value := found.get(key.scope.number)) is not None
    }


async def _load_lists(session: AsyncSession, keys: Sequence[EntryKey]) -> Values:
    found = await lists(session, [(key.scope.number, LIST.params_of(key)) for key in keys])
    return {key: value for key, value in zip(keys, found, strict=True) if value is not None}


async def _load_searches(session: AsyncSession, keys: Sequence[EntryKey]) -> Values:
    found = await searches(session, [(key.scope.number, SEARCH.params_of(key)) for key in keys])
    return {key: value for key, value in zip(keys, found, strict=True) if value is not None}


DETAIL = View("detail", PROJECT.name, _plain(details), ttl=timedelta(seconds=1800))
DASHBOARD = View("dashboard", PROJECT.name, _plain(dashboards), ttl=timedelta(seconds=300))
EXPORT = View("export", PROJECT.name, _load_exports, ttl=timedelta(seconds=3600), params=ExportParams)
ACCESS = View("access", PROJECT.name, _plain(access), ttl=timedelta(seconds=1800), access=Access.ANYONE)
LIST = View(
    "list", USER.name, _load_lists, ttl=timedelta(seconds=600), params=ListParams, access=Access.OWNER
)
STATS = View("stats", USER.name, _plain(stats), ttl=timedelta(seconds=900), access=Access.OWNER)
SEARCH = View(
    "search", USER.name, _load_searches, ttl=timedelta(seconds=1200), params=SearchParams, access=Access.OWNER
)

VIEWS = (DETAIL, DASHBOARD, EXPORT, ACCESS, LIST, STATS, SEARCH)
