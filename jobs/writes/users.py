"""Writes of users: the account's own operations, without a check of permissions: the caller does that."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.audience import projects_of
from jobs.events import UserChanged, UserDeactivated, UserRenamed
from jobs.inputs import NewUser, UserName
from jobs.permission import require_active
from jobs.scopes import USER
from jobs.tables import users
from jobs.writes.writer import Writer
from stoker import BadRequest, NotFound, Receipt


class UserWrites(Writer):
    """Create, rename, change and deactivate users. Results are the user's id and the receipt."""

    async def create_user(self, new: NewUser) -> tuple[int, Receipt]:
        """Create an active user; raises BadRequest for an address that another one has."""
        async with self._stoker.session() as session, session.begin():
            added = insert(users).values(**new.model_dump()).on_conflict_do_nothing().returning(users.c.id)
            user_id = await session.scalar(added)
            if user_id is None:
                raise BadRequest("another user has this address", field="email")
            receipt = self._stoker.record(session, UserChanged(user_id=user_id))
        return user_id, receipt

    async def rename_user(self, user_id: int, name: UserName) -> tuple[int, Receipt]:
        """Give a user another name."""
        async with self._stoker.session() as session, session.begin():
            await _update(session, user_id, {"name": name.name})
            receipt = self._stoker.record(session, UserRenamed(user_id=user_id))
        return user_id, receipt

    async def touch_user(self, user_id: int) -> tuple[int, Receipt]:
        """Record that something about a user changed that no other event names."""
        async with self._stoker.session() as session, session.begin():
            await require_active(session, user_id)
            receipt = self._stoker.record(session, UserChanged(user_id=user_id))
        return user_id, receipt

    async def deactivate_user(self, user_id: int) -> tuple[int, Receipt]:
        """Take every right from a user; when this returns, no cached byte reaches them.

        Raises CommittedNotApplied as `remove_member` does.
        """
        async with self._stoker.session() as session:
            await _update(session, user_id, {"active": False})
            event = UserDeactivated(user_id=user_id, project_ids=await projects_of(session, [user_id]))
            receipt = self._stoker.record(session, event)
            await self._stoker.commit_revocation(session)
        return user_id, receipt


async def _update(session: AsyncSession, user_id: int, values: dict[str, Any]) -> None:
    number = USER.scope(user_id).number
    changed = update(users).where(users.c.id == number).values(values).returning(users.c.id)
    if await session.scalar(changed) is None:
        raise NotFound(f"no user {number}")
