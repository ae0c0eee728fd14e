"""The trace in which an event was recorded; tokens that are added and revoked without a restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """A nullable column without default: no rewrite, a lock for a moment."""
    op.add_column(
        "cache_events",
        sa.Column("trace", sa.String(55), comment="W3C traceparent of the transaction; null: not traced."),
    )
    op.create_table(
        "api_tokens",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False, comment="viewer or operator"),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("revoked_at", TIME),
        sa.Column("last_used_at", TIME, comment="To the minute."),
        sa.UniqueConstraint("sha256", name="api_tokens_sha256"),
        comment="Who may ask, beside the tokens of the settings. Only hashes are stored.",
    )


def downgrade() -> None:
    """Drop both: tokens of the table stop working, events lose their traces."""
    op.drop_table("api_tokens")
    op.drop_column("cache_events", "trace")
