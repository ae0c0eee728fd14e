"""Which caches recorded events were applied to, so that nobody goes on reading another one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """A table of its own: nothing waits for a lock, and an older release does not miss it."""
    op.create_table(
        "cache_identities",
        sa.Column("root", sa.String(64), primary_key=True),
        sa.Column("mark", sa.String(32), primary_key=True),
        sa.Column("noted_at", TIME, nullable=False),
        sa.Column("diverged_since", TIME, comment="From when on changes went to another; null: none did."),
        comment="Caches that recorded events were applied to (docs/decisions/0011).",
    )


def downgrade() -> None:
    """Drop it: a process that reads another cache than the worker invalidates is not noticed any more."""
    op.drop_table("cache_identities")
