"""Who may read a project: the guard of its other views."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.statement import Value, statement, values_by_id

_ACCESS = statement("access")


async def access(session: AsyncSession, project_ids: Iterable[int]) -> dict[int, Value]:
    """`{user id: role}` of each project that exists; active users only."""
    return await values_by_id(session, _ACCESS, project_ids)
