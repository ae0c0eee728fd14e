"""Writes of users: the account's own operations, without a check of permissions: the caller does that."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.events import UserChanged
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
            receipt = self._stoker.applied(session)
        return user_id, receipt

    async def rename_user(self, user_id: int, name: UserName) -> tuple[int, Receipt]:
        """Give a user another name."""
        async with self._stoker.session() as session, session.begin():
            await _update(session, user_id, {"name": name.name})
            receipt = self._stoker.applied(session)
        return user_id, receipt

    async def touch_user(self, user_id: int) -> tuple[int, Receipt]:
        """Invalidate all that is cached of a user, where what changed is in no table of ours.

        The identity provider changed their account, say: no row changes, so that no capture can record it.
        It is the one event that this application records itself.
        """
        async with self._stoker.session() as session, session.begin():
            await require_active(session, user_id)
            receipt = self._stoker.record(session, UserChanged(user_id=user_id))
        return user_id, receipt

    async def deactivate_user(self, user_id: int) -> tuple[int, Receipt]:
        """Take every right from a user; when this returns, no cached byte reaches them.

        Raises NotFound for one who is not active, CommittedNotApplied as `remove_member` does.
        """
        async with self._stoker.session() as session:
            await _update(session, user_id, {"active": False}, users.c.active)
            receipt = self._stoker.applied(session)
            await self._stoker.commit_revocation(session)
        return user_id, receipt


async def _update(
    session: AsyncSession, user_id: int, values: dict[str, Any], *only: ColumnElement[bool]
) -> None:
    number = USER.scope(user_id).number
    changed = update(users).where(users.c.id == number, *only).values(values).returning(users.c.id)
    if await session.scalar(changed) is None:
        raise NotFound(f"no {'active ' if only else ''}user {number}")
