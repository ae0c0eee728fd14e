"""Shelves and books."""

import sqlalchemy as sa
from alembic import op

revision = "library_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "shelves", sa.Column("id", sa.Text, primary_key=True), sa.Column("label", sa.Text, nullable=False)
    )
    op.create_table(
        "books",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("shelf_id", sa.Text, sa.ForeignKey("shelves.id"), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("books")
    op.drop_table("shelves")
