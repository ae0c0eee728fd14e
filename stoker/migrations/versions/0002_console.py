"""History of figures and jobs, pauses of the schedule, the key of console sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create what stoker/tables.py describes beyond 0001."""
    _figures()
    _jobs()
    _schedule()
    op.create_table(
        "console_key",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        comment="One row: what console sessions are signed with. Delete it to end every session.",
    )


def _figures() -> None:
    op.create_table(
        "figure_history",
        sa.Column("span_s", sa.Integer, primary_key=True, autoincrement=False, comment="60, 3600 or 86400"),
        sa.Column("at", TIME, primary_key=True, comment="Where the span begins."),
        sa.Column("series", sa.String(96), primary_key=True),
        sa.Column("gauge", sa.Boolean, nullable=False, comment="Merged by maximum, not by sum."),
        sa.Column("value", sa.Double, nullable=False),
        comment="Figures over time, rolled up minute -> hour -> day.",
    )
    op.create_table(
        "figure_marks",
        sa.Column("series", sa.String(160), primary_key=True),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("at", TIME, nullable=False),
        comment="Where counting has come to, so that any number of workers counts once; and who works.",
    )


def _jobs() -> None:
    op.create_table(
        "job_history",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("job_id", sa.String(64)),
        sa.Column("lane", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("scope", sa.String(128)),
        sa.Column("arguments", JSONB),
        sa.Column("error", sa.Text),
        sa.Column("waited_s", sa.Double, nullable=False),
        sa.Column("ran_s", sa.Double, nullable=False),
        sa.Column("ended_at", TIME, nullable=False, server_default=NOW),
        sa.Column("worker", sa.String(128), nullable=False),
        comment="Runs of jobs: every failure, and of each kind the newest that went well.",
    )
    op.create_index("job_history_job_id", "job_history", ["job_id"])
    op.create_index("job_history_kind", "job_history", ["kind", "failed", "id"])
    op.create_index("dead_jobs_lane", "dead_jobs", ["lane"])


def _schedule() -> None:
    op.create_table(
        "schedule_pauses",
        sa.Column("task", sa.String(64), primary_key=True),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=NOW),
        comment="Tasks of the schedule that begin no slot until they are resumed.",
    )
    op.add_column(
        "schedule_slots", sa.Column("job_id", sa.String(64), comment="The job that carries it out.")
    )
    op.add_column(
        "schedule_slots", sa.Column("asked_by", sa.String(64), comment="Who ran it by hand; none: its time.")
    )


def downgrade() -> None:
    """Drop it: what was seen so far is forgotten, paused tasks run again."""
    op.drop_column("schedule_slots", "asked_by")
    op.drop_column("schedule_slots", "job_id")
    op.drop_index("dead_jobs_lane", "dead_jobs")
    for table in ("schedule_pauses", "job_history", "figure_marks", "figure_history", "console_key"):
        op.drop_table(table)
