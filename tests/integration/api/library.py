"""The API of the tests' small library domain, served on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker.cache.view import Access, EntryKey, Scope, ScopeKind, View
from stoker.domain import Domain
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.tables import audit_log
from stoker.warm_plans import WarmPlan
from tests.support.callers import client


async def load(_: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    return {key: {"shelf": key.scope.id} for key in keys}


async def no_entries(_: AsyncSession, __: Scope | None) -> Sequence[EntryKey]:
    return []


LIBRARY = Domain(
    name="library",
    scopes=(ScopeKind("shelf"), ScopeKind("branch", str)),
    views=(
        View("labels", "shelf", load, access=Access.ANYONE),
        View("map", "shelf", load, access=Access.ANYONE),
    ),
    rules=(),
    warm_plans=(WarmPlan("active", no_entries), WarmPlan("shelf", no_entries)),
)


@asynccontextmanager
async def served(settings: Settings, token: str | None) -> AsyncIterator[tuple[httpx.AsyncClient, Stoker]]:
    """The API asked by whoever has the token."""
    async with (
        Stoker.opened(settings, LIBRARY) as stoker,
        client(stoker, settings, token, at="127.0.0.1:8080", address="127.0.0.1") as api,
    ):
        yield api, stoker


async def audited(stoker: Stoker) -> list[tuple[str, str, Any]]:
    columns = audit_log.c
    query = select(columns.actor, columns.action, columns.arguments).order_by(columns.id)
    async with stoker.engine.connect() as connection:
        return [(actor, action, arguments) for actor, action, arguments in await connection.execute(query)]
