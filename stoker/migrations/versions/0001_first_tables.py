"""Outbox, dead jobs, schedule ledger, audit log and the installation's id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables that stoker/tables.py describes."""
    _installation()
    _outbox()
    _dead_jobs()
    _ledger_and_audit()


def _installation() -> None:
    op.create_table(
        "stoker_installation",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.text("now()")),
        comment="One row. A new or restored database gets a new id, so it never meets an old cache "
        "(RACES 42).",
    )


def _outbox() -> None:
    op.create_table(
        "cache_events",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("version", sa.SmallInteger, nullable=False, server_default="1"),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("scopes", JSONB, nullable=False, comment="[[kind, id, [view, ...], hard 0/1], ...]"),
        sa.Column("recorded_at", TIME, nullable=False, server_default=NOW),
        sa.Column("settled_at", TIME),
        sa.Column("due_at", TIME, nullable=False, server_default=NOW),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
        comment="The outbox: what changed, recorded in the writer's own transaction.",
    )
    op.create_index(
        "cache_events_unsettled",
        "cache_events",
        ["recorded_at"],
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index(
        "cache_events_settled",
        "cache_events",
        ["settled_at"],
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )


def _dead_jobs() -> None:
    op.create_table(
        "dead_jobs",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("lane", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("payload", JSONB),
        sa.Column("raw", sa.Text, comment="The stored bytes, base64, of a payload that could not be read."),
        sa.Column(
            "reason",
            sa.String(32),
            nullable=False,
            comment="failed, exhausted, expired, undecodable, quarantined",
        ),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("traceback", sa.Text),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("enqueued_at", TIME),
        sa.Column("died_at", TIME, nullable=False, server_default=NOW),
        sa.UniqueConstraint("job_id", name="dead_jobs_job_id"),
        comment="Jobs that will not run again by themselves.",
    )
    op.create_index("dead_jobs_fingerprint", "dead_jobs", ["fingerprint", "died_at"])


def _ledger_and_audit() -> None:
    op.create_table(
        "schedule_slots",
        sa.Column("task", sa.String(64), primary_key=True),
        sa.Column("slot", TIME, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False, comment="claimed, done, failed, skipped"),
        sa.Column("claimed_by", sa.String(128), nullable=False),
        sa.Column("claimed_at", TIME, nullable=False, server_default=NOW),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("done_at", TIME),
        sa.Column("error", sa.Text),
        comment="The schedule's ledger: one row per task and slot.",
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("at", TIME, nullable=False, server_default=NOW),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("arguments", JSONB, nullable=False),
        comment="Who did what when.",
    )


def downgrade() -> None:
    """Drop them: events that were not applied are lost."""
    for table in ("audit_log", "schedule_slots", "dead_jobs", "cache_events", "stoker_installation"):
        op.drop_table(table)
