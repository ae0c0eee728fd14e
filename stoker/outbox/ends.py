"""The ends of requested jobs: what has ended is not delivered again when the queue has lost its data.

A row by job id, beside the requests: an end never waits for the delivery that still holds the request's row,
and costs the request's own transaction nothing. Raises DatabaseUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres import database_errors

_NOTE = text(
    "INSERT INTO stoker.job_ends (job_id) SELECT unnest(CAST(:job_ids AS text[])) ON CONFLICT DO NOTHING"
)


class JobEnds:
    """The table `job_ends`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def note(self, job_ids: Sequence[str]) -> None:
        """Commit that these requested jobs have ended. Noting one again changes nothing."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(_NOTE, {"job_ids": list(job_ids)})
