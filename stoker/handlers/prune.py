"""Deletes rows whose retention has passed: settled events, delivered requests, finished slots, audit rows."""

from __future__ import annotations

from sqlalchemy import text

from stoker.handlers.context import JobContext
from stoker.jobs import Outcome, Prune
from stoker.postgres import database_errors

BATCH = 10_000
"""Rows in one transaction: locks and write-ahead log stay small."""
AUDIT_KEPT_DAYS = 365
REQUESTS_KEPT_DAYS = 1
ENDS_KEPT_DAYS = 2
"""Longer than any request is delivered again."""
SLOTS_KEPT_DAYS = 30
HISTORY_KEPT_DAYS = 90
"""Weights of the predictor, an hour each."""

STATEMENTS = {
    "cache_events": (
        "DELETE FROM stoker.cache_events WHERE id IN (SELECT id FROM stoker.cache_events"
        " WHERE settled_at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :batch)"
    ),
    "job_requests": (
        "DELETE FROM stoker.job_requests WHERE seq IN (SELECT seq FROM stoker.job_requests"
        " WHERE delivered_at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :batch)"
    ),
    "job_ends": (
        "DELETE FROM stoker.job_ends WHERE job_id IN (SELECT job_id FROM stoker.job_ends"
        " WHERE ended_at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :batch)"
    ),
    "schedule_slots": (
        "DELETE FROM stoker.schedule_slots WHERE (task, slot) IN ("
        "SELECT task, slot FROM stoker.schedule_slots"
        " WHERE slot < clock_timestamp() - make_interval(secs => :kept_s)"
        " AND state <> 'claimed' LIMIT :batch)"
    ),
    "warm_history": (
        "DELETE FROM stoker.warm_history WHERE at IN (SELECT at FROM stoker.warm_history"
        " WHERE at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :batch)"
    ),
    "audit_log": (
        "DELETE FROM stoker.audit_log WHERE id IN (SELECT id FROM stoker.audit_log"
        " WHERE at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :batch)"
    ),
}


async def prune(context: JobContext, _job: Prune) -> Outcome:
    """Delete in batches until no row is old enough."""
    kept_s = {
        "cache_events": context.stoker.settings.changes.keep_settled_s,
        "job_requests": REQUESTS_KEPT_DAYS * 86400,
        "job_ends": ENDS_KEPT_DAYS * 86400,
        "schedule_slots": SLOTS_KEPT_DAYS * 86400,
        "warm_history": HISTORY_KEPT_DAYS * 86400,
        "audit_log": AUDIT_KEPT_DAYS * 86400,
    }
    for table, statement in STATEMENTS.items():
        deleted = BATCH
        while deleted == BATCH:
            with database_errors():
                async with context.stoker.engine.begin() as connection:
                    found = await connection.execute(
                        text(statement), {"kept_s": kept_s[table], "batch": BATCH}
                    )
                    deleted = found.rowcount
    return Outcome.DONE
