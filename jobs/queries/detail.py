"""The project itself."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.statement import Value, statement, values_by_id

_DETAIL = statement("detail")


async def details(session: AsyncSession, project_ids: Iterable[int]) -> dict[int, Value]:
    """The detail of each project that exists."""
    return await values_by_id(session, _DETAIL, project_ids)
