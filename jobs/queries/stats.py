"""Figures over a user's projects."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.statement import Value, statement, values_by_id

_STATS = statement("stats")


async def stats(session: AsyncSession, user_ids: Iterable[int]) -> dict[int, Value]:
    """The figures of each user who is active."""
    return await values_by_id(session, _STATS, user_ids)
