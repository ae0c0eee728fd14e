"""Deleting what nobody needs any more: settled events, finished schedule slots, old audit rows."""

from __future__ import annotations

from sqlalchemy import text

from jobs.connections import database_errors
from jobs.contracts import Outcome, Prune
from jobs.tasks.context import TaskContext

BATCH = 10_000
"""Rows in one transaction: locks and write-ahead log stay small."""
AUDIT_KEPT_DAYS = 365
SLOTS_KEPT_DAYS = 30

STATEMENTS = {
    "cache_events": (
        "DELETE FROM cache_events WHERE id IN (SELECT id FROM cache_events"
        " WHERE settled_at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :batch)"
    ),
    "schedule_slots": (
        "DELETE FROM schedule_slots WHERE (task, slot) IN (SELECT task, slot FROM schedule_slots"
        " WHERE slot < clock_timestamp() - make_interval(secs => :kept_s) AND state <> 'claimed'"
        " LIMIT :batch)"
    ),
    "audit_log": (
        "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log"
        " WHERE at < clock_timestamp() - make_interval(secs => :kept_s) LIMIT :batch)"
    ),
}


async def prune(context: TaskContext, _job: Prune) -> Outcome:
    """Delete in batches until nothing is left that is old enough."""
    kept_s = {
        "cache_events": context.stoker.settings.changes.keep_settled_s,
        "schedule_slots": SLOTS_KEPT_DAYS * 86400,
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
