"""Which workers there are: each reports every few seconds that it lives, and when it leaves.

Marks are rows of `figure_marks`; old ones are deleted. Raises DatabaseUnavailable.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres import database_errors

WORKER = "worker:"
"""Begins the names of workers' marks."""
BEAT_S = 5.0
"""Seconds between two reports of a living worker."""
SILENT_S = 15.0
"""Seconds of silence after which it counts as gone: three reports are missing."""

SEEN = text(
    "INSERT INTO stoker.figure_marks (series, value, at) VALUES (:series, 0, clock_timestamp())"
    " ON CONFLICT (series) DO UPDATE SET at = excluded.at"
)
LEFT = text("DELETE FROM stoker.figure_marks WHERE series = :series")
WORKERS = text(
    "SELECT substr(series, :from) AS name, extract(epoch FROM clock_timestamp() - at) AS silent_s"
    " FROM stoker.figure_marks WHERE series LIKE :workers AND at > clock_timestamp() - interval '10 minutes'"
    " ORDER BY series LIMIT 100"
)


class Presence:
    """The reports of one worker."""

    def __init__(self, engine: AsyncEngine, worker: str) -> None:
        self._engine = engine
        self._series = f"{WORKER}{worker}"

    async def seen(self) -> None:
        """Report that it lives."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(SEEN, {"series": self._series})

    async def left(self) -> None:
        """Report that it has stopped in order, so that it counts as gone at once."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(LEFT, {"series": self._series})


async def silences(engine: AsyncEngine) -> dict[str, float]:
    """Workers of the last ten minutes that did not stop in order: seconds since their last report."""
    values = {"from": len(WORKER) + 1, "workers": f"{WORKER}%"}
    with database_errors():
        async with engine.connect() as connection:
            rows = (await connection.execute(WORKERS, values)).all()
    return {row.name: float(row.silent_s) for row in rows}
