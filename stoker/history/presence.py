"""Which workers run: each reports every few seconds, and when it stops.

Marks are rows of `figure_marks`; old ones are deleted. Raises DatabaseUnavailable.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres import database_errors

WORKER = "worker:"
"""Begins the names of workers' marks."""
LANE = f"{WORKER}*lane:"
"""Begins the names of marks that say that a worker runs the jobs of a lane; no host's name has a *."""
BEAT_S = 5.0
"""Seconds between two reports of a living worker."""
SILENT_S = 15.0
"""Seconds without a report after which it counts as gone: three reports are missing."""

SEEN = text(
    "INSERT INTO stoker.figure_marks (series, value, at)"
    " SELECT series, 0, clock_timestamp() FROM unnest(CAST(:series AS varchar[])) AS series ORDER BY series"
    " ON CONFLICT (series) DO UPDATE SET at = excluded.at"
)
LEFT = text("DELETE FROM stoker.figure_marks WHERE series = :series")
WORKERS = text(
    "SELECT substr(series, :from) AS name, extract(epoch FROM clock_timestamp() - at) AS silent_s"
    " FROM stoker.figure_marks WHERE series LIKE :workers AND NOT starts_with(series, :lane)"
    " AND at > clock_timestamp() - interval '10 minutes' ORDER BY series LIMIT 100"
)
SERVED = text(
    "SELECT substr(series, :from) AS lane FROM stoker.figure_marks"
    " WHERE starts_with(series, :lane) AND at > clock_timestamp() - make_interval(secs => :within_s)"
    " ORDER BY series"
)


class Presence:
    """The reports of one worker."""

    def __init__(self, engine: AsyncEngine, worker: str, lanes: Collection[str] = ()) -> None:
        self._engine = engine
        self._series = f"{WORKER}{worker}"
        self._lanes = [f"{LANE}{lane}" for lane in lanes]

    async def seen(self) -> None:
        """Report that it lives, and which lanes' jobs it runs."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(SEEN, {"series": [self._series, *self._lanes]})

    async def left(self) -> None:
        """Report that it has stopped in order, so that it counts as gone at once."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(LEFT, {"series": self._series})


async def silences(engine: AsyncEngine) -> dict[str, float]:
    """Workers of the last ten minutes that did not stop in order: seconds since their last report."""
    values = {"from": len(WORKER) + 1, "workers": f"{WORKER}%", "lane": LANE}
    with database_errors():
        async with engine.connect() as connection:
            rows = (await connection.execute(WORKERS, values)).all()
    return {row.name: float(row.silent_s) for row in rows}


async def served_lanes(engine: AsyncEngine) -> list[str]:
    """Lanes whose jobs a worker runs that has reported lately, or stopped a few seconds ago."""
    values = {"from": len(LANE) + 1, "lane": LANE, "within_s": SILENT_S}
    with database_errors():
        async with engine.connect() as connection:
            return [row.lane for row in await connection.execute(SERVED, values)]
