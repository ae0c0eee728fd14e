"""Who belongs to what, as SQL says when an event is applied."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

_VIEWERS = text("""
SELECT user_id FROM project_members WHERE project_id = ANY(CAST(:ids AS bigint[]))
UNION SELECT owner_id FROM projects WHERE id = ANY(CAST(:ids AS bigint[]))
""")

_PROJECTS = text("""
SELECT project_id FROM project_members WHERE user_id = ANY(CAST(:ids AS bigint[]))
UNION SELECT id FROM projects WHERE owner_id = ANY(CAST(:ids AS bigint[]))
""")


async def viewers(session: AsyncSession, project_ids: Collection[int]) -> tuple[int, ...]:
    """Owners and members of any of the projects, active or not."""
    return await _ids(session, _VIEWERS, project_ids)


async def projects_of(session: AsyncSession, user_ids: Collection[int]) -> tuple[int, ...]:
    """Projects that any of the users owns or is a member of."""
    return await _ids(session, _PROJECTS, user_ids)


async def _ids(session: AsyncSession, statement: TextClause, ids: Collection[int]) -> tuple[int, ...]:
    rows = await session.execute(statement, {"ids": sorted(ids)})
    return tuple(sorted(rows.scalars()))
