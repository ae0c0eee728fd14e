"""Console sessions that were signed out of, so that no process takes their cookies any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own: nothing waits for a lock."""
    op.create_table(
        "console_sessions_ended",
        sa.Column("nonce", sa.String(32), primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        comment="Console sessions signed out of, until they would have ended by themselves.",
    )


def downgrade() -> None:
    """Drop it: a cookie that was signed out of counts again until its time is over."""
    op.drop_table("console_sessions_ended")
