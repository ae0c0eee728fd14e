"""Deletes rows whose retention has passed: settled events, delivered requests, audit rows and others."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import TextClause, text

from stoker.handlers.context import JobContext
from stoker.jobs import Outcome, Prune
from stoker.postgres import database_errors
from stoker.settings import Settings

BATCH = 10_000
"""Rows in one transaction: locks and write-ahead log stay small."""
AUDIT_KEPT_DAYS = 365
REQUESTS_KEPT_DAYS = 1
ENDS_KEPT_DAYS = 2
"""Longer than any request is delivered again."""
SLOTS_KEPT_DAYS = 30
FINDINGS_KEPT_DAYS = 90
WORKERS_KEPT_DAYS = 30
HISTORY_KEPT_DAYS = 90
"""Weights of the predictor, an hour each."""

LONGEST_S = 300.0
"""Seconds of one run, within the job's limit of time; what is left then is deleted by the next one."""

# A step begins where the one before ended: from the oldest row on it would walk past all that were deleted
# and are not vacuumed yet, so that the millionth row would cost more than the first.
_STEP = """
    WITH old AS MATERIALIZED (
        SELECT {key}, {at} AS since FROM stoker.{table}
         WHERE {at} >= :after AND {at} < clock_timestamp() - make_interval(secs => :kept_s){also}
         ORDER BY {at} LIMIT :batch
    ), gone AS (DELETE FROM stoker.{table} WHERE ({key}) IN (SELECT {key} FROM old))
    SELECT count(*), max(since) FROM old
"""


@dataclass(frozen=True)
class Pruned:
    """A table, its key, the column that says how old a row is, and what else must hold."""

    table: str
    key: str
    at: str
    kept_s: float
    also: str = ""

    @property
    def step(self) -> TextClause:
        """Deletes the oldest `batch` rows from `after` on. Out: how many, and how old the youngest was."""
        return text(_STEP.format(table=self.table, key=self.key, at=self.at, also=self.also))


def pruned(settings: Settings) -> tuple[Pruned, ...]:
    """Every table that is pruned here."""
    return (
        Pruned("cache_events", "id", "settled_at", settings.changes.keep_settled_s),
        Pruned("job_requests", "seq", "delivered_at", REQUESTS_KEPT_DAYS * 86400),
        Pruned("job_ends", "job_id", "ended_at", ENDS_KEPT_DAYS * 86400),
        Pruned("schedule_slots", "task, slot", "slot", SLOTS_KEPT_DAYS * 86400, " AND state <> 'claimed'"),
        Pruned("warm_history", "at", "at", HISTORY_KEPT_DAYS * 86400),
        Pruned("audit_log", "id", "at", AUDIT_KEPT_DAYS * 86400),
        Pruned("stale_findings", "id", "found_at", FINDINGS_KEPT_DAYS * 86400),
        Pruned("workers", "name", "seen_at", WORKERS_KEPT_DAYS * 86400),
    )


async def prune(context: JobContext, _job: Prune) -> Outcome:
    """Delete in steps until no row is old enough, or for LONGEST_S."""
    give_up = time.monotonic() + LONGEST_S
    for one in pruned(context.stoker.settings):
        after, deleted = datetime.min.replace(tzinfo=UTC), BATCH
        while deleted == BATCH and time.monotonic() < give_up:
            with database_errors():
                async with context.stoker.engine.begin() as connection:
                    found = await connection.execute(
                        one.step, {"after": after, "kept_s": one.kept_s, "batch": BATCH}
                    )
                    deleted, youngest = found.one()
                    after = youngest or after
    return Outcome.DONE
