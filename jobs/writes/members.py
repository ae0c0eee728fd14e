"""Writes of who may read a project, and as what."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Delete, Update, delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.permission import require_active
from jobs.scopes import OWNERS, READERS, USER, Role
from jobs.tables import project_members
from jobs.writes.writer import BY_NONE, Result, Writer, Written, next_revision
from stoker import BadRequest, NotFound


class MemberWrites(Writer):
    """Add and remove members and change their roles; only the owner may, except that anybody may leave.

    Only `transfer_owner` changes the owner's own membership.
    """

    async def add_member(self, actor: int, project_id: int, user_id: int, role: Role) -> Result:
        """Let an active user read, or write; raises BadRequest for one who is a member already."""
        _refuse_owner(role)
        async with self._changing(actor, project_id, OWNERS) as session:
            await require_active(session, user_id)
            member = insert(project_members).values(project_id=project_id, user_id=user_id, role=role)
            added = member.on_conflict_do_nothing().returning(project_members.c.user_id)
            if await session.scalar(added) is None:
                raise BadRequest(f"user {user_id} is a member already", field="user_id")
            return await self._changed(session, project_id, user_id)

    async def change_role(self, actor: int, project_id: int, user_id: int, role: Role) -> Result:
        """Let a member do more, or less; raises NotFound for somebody who is none."""
        _refuse_owner(role)
        async with self._changing(actor, project_id, OWNERS) as session:
            changed = update(project_members).where(*_member(project_id, user_id)).values(role=role)
            await _expect_member(session, changed, user_id)
            return await self._changed(session, project_id, user_id)

    async def remove_member(self, actor: int, project_id: int, user_id: int) -> Result:
        """End a membership; when this returns, no cached byte of the project reaches the user.

        Raises CommittedNotApplied if the cache does not acknowledge it: the user is removed, but cached
        values may still be shown.
        """
        allowed = READERS if actor == user_id else OWNERS
        async with self._changing(actor, project_id, allowed) as session:
            await _expect_member(
                session, delete(project_members).where(*_member(project_id, user_id)), user_id
            )
            result = await self._changed(session, project_id, user_id)
            await self._stoker.commit_revocation(session)
        return result

    async def _changed(self, session: AsyncSession, project_id: int, user_id: int) -> Result:
        revision = await next_revision(session, project_id, "members_revision")
        return Written(user_id, project_id, revision, BY_NONE), self._stoker.applied(session)


def _refuse_owner(role: Role) -> None:
    if role is Role.OWNER:
        raise BadRequest("the owner's role cannot be changed: transfer the project instead", field="role")


def _member(project_id: int, user_id: int) -> tuple[ColumnElement[bool], ...]:
    # The owner's row is not deleted: the project would still belong to them without it.
    return (
        project_members.c.project_id == project_id,
        project_members.c.user_id == USER.scope(user_id).number,
        project_members.c.role != Role.OWNER,
    )


async def _expect_member(session: AsyncSession, write: Update | Delete, user_id: int) -> None:
    if await session.scalar(write.returning(project_members.c.user_id)) is None:
        raise NotFound(f"user {user_id} is no member whose role can change")
