"""A user's permissions for a project, and whether a user exists, in SQL."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries import access
from jobs.scopes import PROJECT, USER, Role
from jobs.tables import projects, users
from stoker import Forbidden, NotFound


async def lock_project(session: AsyncSession, project_id: int) -> None:
    """Wait for other writers of the project; raises NotFound.

    Statements after this one see what the last of them committed: members, audience and the next revision.
    """
    number = PROJECT.scope(project_id).number
    if await session.scalar(select(projects.c.id).where(projects.c.id == number).with_for_update()) is None:
        raise NotFound(f"no project {number}")


async def require_role(
    session: AsyncSession, user_id: int, project_id: int, allowed: Collection[Role]
) -> None:
    """Raises NotFound for an unknown project, Forbidden for a user who has none of the allowed roles."""
    number = PROJECT.scope(project_id).number
    roles = (await access(session, [number])).get(number)
    if roles is None:
        raise NotFound(f"no project {number}")
    if roles.get(str(user_id)) not in allowed:
        raise Forbidden(
            f"user {user_id} has none of the roles {', '.join(sorted(allowed))} in project {number}"
        )


async def is_active(session: AsyncSession, user_id: int) -> bool:
    """Whether there is such a user, who stays active until this transaction ends."""
    number = USER.scope(user_id).number
    query = select(users.c.id).where(users.c.id == number, users.c.active).with_for_update(read=True)
    return await session.scalar(query) is not None


async def require_active(session: AsyncSession, user_id: int) -> None:
    """Raises NotFound unless there is such a user, who stays active until this transaction ends."""
    if not await is_active(session, user_id):
        raise NotFound(f"no active user {user_id}")
