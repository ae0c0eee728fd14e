"""What happened beside the figures: workers that started, stopped or fell silent, pauses, restarts.

Read from the tables that have it anyway: workers, the audit log, and the history. Raises DatabaseUnavailable.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.history.presence import SILENT_S
from stoker.postgres import database_errors

MOST = 60
"""Marks of one chart; of more, the latest are shown."""
SERVERS = {"database": "Postgres", "queue": "the queue Redis", "cache": "the cache Redis"}
FOUND = text("""
    SELECT extract(epoch FROM at) AS at, says FROM (
        SELECT started_at AS at, 'worker ' || name || ' started, release ' || release AS says
          FROM stoker.workers
        UNION ALL
        SELECT stopped_at, 'worker ' || name || ' stopped' FROM stoker.workers WHERE stopped_at IS NOT NULL
        UNION ALL
        SELECT seen_at, 'worker ' || name || ' fell silent' FROM stoker.workers
         WHERE stopped_at IS NULL AND seen_at < clock_timestamp() - make_interval(secs => :silent_s)
        UNION ALL
        SELECT at, actor || ': ' || action || ' ' || coalesce(arguments->>'lane', arguments->>'task', '')
          FROM stoker.audit_log WHERE action IN ('lane.pause', 'lane.resume', 'lane.set', 'schedule.pause',
                                                 'schedule.resume')
        UNION ALL
        SELECT at, split_part(series, ':', 2) FROM stoker.figure_history
         WHERE span_s = 60 AND series IN ('server:database:restarted', 'server:queue:restarted',
                                          'server:cache:restarted')
    ) AS everything
    WHERE at >= :since ORDER BY at DESC LIMIT :most
""")


class ChartMark(BaseModel):
    """Something that happened at a time, in seconds since 1970."""

    at: float
    says: str


async def marks(engine: AsyncEngine, since: datetime) -> list[ChartMark]:
    """What happened since then, the earliest first."""
    values = {"since": since, "most": MOST, "silent_s": SILENT_S}
    with database_errors():
        async with engine.connect() as connection:
            rows = (await connection.execute(FOUND, values)).all()
    return [ChartMark(at=round(float(row.at), 3), says=_says(row.says)) for row in reversed(rows)]


def _says(said: str) -> str:
    return f"{SERVERS[said]} was restarted" if said in SERVERS else said
