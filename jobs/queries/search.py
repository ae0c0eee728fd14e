"""Search among a user's projects."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.params import SearchParams
from jobs.queries.statement import Value, like, statement

_SEARCH = statement("search")


async def searches(session: AsyncSession, asked: Sequence[tuple[int, SearchParams]]) -> list[Value | None]:
    """What each (user, query) finds, in the same order; None for a user who may see nothing."""
    rows = await session.execute(
        _SEARCH,
        {
            "user_ids": [user_id for user_id, _ in asked],
            "patterns": [like(params.query) for _, params in asked],
            "limits": [params.limit for _, params in asked],
        },
    )
    found: dict[int, Value] = {position: value for position, value in rows}  # noqa: C416 - see statement.py
    return [
        {"query": params.query, **found[position]} if position in found else None
        for position, (_, params) in enumerate(asked, start=1)
    ]
