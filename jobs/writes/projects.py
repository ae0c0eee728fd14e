"""Writes of the project's own row and of its owner: what lists show."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.inputs import NewProject, ProjectChanges
from jobs.permission import is_active, require_active
from jobs.scopes import OWNERS, Role
from jobs.tables import project_members, project_revision, projects
from jobs.writes.writer import BY_ALL, Result, Writer, Written
from stoker import Forbidden


class ProjectWrites(Writer):
    """Create, update, hand over and delete projects."""

    async def create_project(self, actor: int, new: NewProject) -> Result:
        """Create a project that the actor owns; raises Forbidden for a user who is not active."""
        async with self._stoker.session() as session, session.begin():
            if not await is_active(session, actor):
                raise Forbidden(f"user {actor} is not active")
            created = await session.execute(
                insert(projects)
                .values(owner_id=actor, revision=project_revision.next_value(), **new.model_dump())
                .returning(projects.c.id, projects.c.revision)
            )
            project_id, revision = created.one()
            member = {"project_id": project_id, "user_id": actor, "role": Role.OWNER}
            await session.execute(insert(project_members).values(member))
            receipt = self._stoker.applied(session)
        return Written(project_id, project_id, revision, BY_ALL), receipt

    async def update_project(self, actor: int, project_id: int, changes: ProjectChanges) -> Result:
        """Change columns of the row; owner and editors may."""
        async with self._changing(actor, project_id) as session:
            revision = await _update_row(session, project_id, changes.model_dump(exclude_none=True))
            receipt = self._stoker.applied(session)
        return Written(project_id, project_id, revision, BY_ALL), receipt

    async def transfer_owner(self, actor: int, project_id: int, new_owner: int) -> Result:
        """Give the project to another active user; the owner before stays as an editor."""
        async with self._changing(actor, project_id, OWNERS) as session:
            await require_active(session, new_owner)
            revision = await _update_row(session, project_id, {"owner_id": new_owner})
            await _set_role(session, project_id, actor, Role.EDITOR)
            await _set_role(session, project_id, new_owner, Role.OWNER)
            receipt = self._stoker.applied(session)
        return Written(project_id, project_id, revision, BY_ALL), receipt

    async def delete_project(self, actor: int, project_id: int) -> Result:
        """Delete the project and all it contains; only its owner may."""
        async with self._changing(actor, project_id, OWNERS) as session:
            revision = await session.scalar(project_revision.next_value())
            await session.execute(delete(projects).where(projects.c.id == project_id))
            receipt = self._stoker.applied(session)
        return Written(project_id, project_id, int(revision or 0), frozenset()), receipt


async def _update_row(session: AsyncSession, project_id: int, values: dict[str, Any]) -> int:
    numbered = {
        **values,
        "updated_at": func.clock_timestamp(),
        "revision": project_revision.next_value(),
    }
    updated = await session.execute(
        update(projects).where(projects.c.id == project_id).values(numbered).returning(projects.c.revision)
    )
    return int(updated.scalar_one())


async def _set_role(session: AsyncSession, project_id: int, user_id: int, role: Role) -> None:
    member = upsert(project_members).values(project_id=project_id, user_id=user_id, role=role)
    key = [project_members.c.project_id, project_members.c.user_id]
    await session.execute(member.on_conflict_do_update(index_elements=key, set_={"role": role}))
