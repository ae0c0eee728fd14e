"""Requests of `enqueue_in` that wait in Postgres, as operators count them. Raises DatabaseUnavailable."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres import short_connection

# The row of a transaction that began long ago is young here: its age counts from when the row was added.
_UNDELIVERED = text(
    "SELECT count(*), coalesce(max(abs(extract(epoch FROM clock_timestamp() - requested_at))), 0)"
    " FROM stoker.job_requests WHERE delivered_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Committed requests that the queue does not have yet, and the age of the oldest."""

    count: int
    oldest_age_s: float


async def undelivered(engine: AsyncEngine) -> Undelivered:
    """Count them; bounded by the partial index, not by the table."""
    async with short_connection(engine) as connection:
        count, age_s = (await connection.execute(_UNDELIVERED)).one()
        return Undelivered(count, float(age_s))
