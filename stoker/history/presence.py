"""Which workers there are: each says every few seconds that it lives, and when it leaves.

Marks lie in `figure_marks`, bounded by forgetting. Raises DatabaseUnavailable.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres import database_errors

WORKER = "worker:"
"""What the marks of workers begin with."""
BEAT_S = 5.0
"""Seconds between two words of a living worker."""
SILENT_S = 15.0
"""Seconds of silence after which it counts as gone: three words were missed."""

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
    """What one worker says of itself."""

    def __init__(self, engine: AsyncEngine, worker: str) -> None:
        self._engine = engine
        self._series = f"{WORKER}{worker}"

    async def seen(self) -> None:
        """It lives."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(SEEN, {"series": self._series})

    async def left(self) -> None:
        """It has stopped in order: nobody need wait until it counts as gone."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(LEFT, {"series": self._series})


async def silences(engine: AsyncEngine) -> dict[str, float]:
    """Workers of the last ten minutes that did not leave in order: seconds since each one's last word."""
    values = {"from": len(WORKER) + 1, "workers": f"{WORKER}%"}
    with database_errors():
        async with engine.connect() as connection:
            rows = (await connection.execute(WORKERS, values)).all()
    return {row.name: float(row.silent_s) for row in rows}
