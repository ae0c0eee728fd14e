"""Pages of a user's projects."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.params import ListParams
from jobs.queries.statement import Value, like, statement

_LISTING = statement("listing")


async def lists(session: AsyncSession, asked: Sequence[tuple[int, ListParams]]) -> list[Value | None]:
    """The page of each (user, parameters), in the same order; None for a user who may see nothing."""
    rows = await session.execute(
        _LISTING,
        {
            "user_ids": [user_id for user_id, _ in asked],
            "statuses": [params.status for _, params in asked],
            "device_types": [params.device_type for _, params in asked],
            "patterns": [like(params.q) for _, params in asked],
            "limits": [params.limit for _, params in asked],
            "offsets": [params.offset for _, params in asked],
        },
    )
    found: dict[int, Value] = {position: value for position, value in rows}  # noqa: C416 - see statement.py
    return [found.get(position) for position in range(1, len(asked) + 1)]
