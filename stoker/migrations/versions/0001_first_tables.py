"""Stoker's own tables; the SQL is in the files beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables that stoker/tables.py describes."""
    for statement in Path(__file__).with_suffix(".sql").read_text().split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(Path(__file__).with_name("0001_error_index.sql").read_text())


def downgrade() -> None:
    """Drop the tables and all that is in them."""
    op.execute("DROP SCHEMA stoker CASCADE")
