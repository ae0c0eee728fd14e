"""Who is active, and which projects are worth building ahead for whom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.statement import ids_of

_ACTIVE_USERS = ids_of("active_users")
_WARM_ORDER = ids_of("warm_order")


async def active_users(session: AsyncSession, within: timedelta) -> Sequence[int]:
    """Users who were active in that time until now."""
    rows = await session.execute(_ACTIVE_USERS, {"since": datetime.now(UTC) - within})
    return rows.scalars().all()


async def warm_order(session: AsyncSession, user_ids: Collection[int], most: int) -> Sequence[int]:
    """The users' projects, most urgent first, at most so many for each user."""
    rows = await session.execute(_WARM_ORDER, {"user_ids": sorted(user_ids), "most": most})
    return rows.scalars().all()
