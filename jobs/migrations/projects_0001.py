"""Users, projects and what projects contain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "projects_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the domain's tables."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("project_revision")))
    _create_users_and_projects()
    _create_members()
    _create_judgements()
    _create_activity()


def downgrade() -> None:
    """Drop the domain's tables and all that is in them."""
    for table in (
        "agent_interactions",
        "project_documents",
        "predicate_devices",
        "device_classifications",
        "project_members",
        "projects",
        "users",
    ):
        op.drop_table(table)
    op.execute(sa.schema.DropSequence(sa.Sequence("project_revision")))


def _create_users_and_projects() -> None:
    op.create_table(
        "users",
        _id(),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.UniqueConstraint("email", name="users_email"),
        comment="Never deleted, only deactivated: their projects remain.",
    )
    op.create_table(
        "projects",
        _id(),
        sa.Column("owner_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False, server_default="draft"),
        sa.Column("device_type", sa.String(100), nullable=False),
        sa.Column("intended_use", sa.Text, nullable=False, server_default=""),
        _time("created_at"),
        _time("updated_at"),
        _revision("revision", "The last change of this row or of its owner."),
        _revision(
            "contents_revision", "The last change of a classification, predicate, document, interaction."
        ),
        _revision("members_revision", "The last change of a member; no view shows it."),
        sa.CheckConstraint("status IN ('draft', 'in_progress', 'completed')", name="projects_status"),
        sa.Index("projects_owner", "owner_id"),
        sa.Index("projects_updated", "updated_at"),
        comment="updated_at is of this row alone: lists show it, and they do not change with the contents.",
    )


def _create_members() -> None:
    op.create_table(
        "project_members",
        _project(primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'editor', 'viewer')", name="project_members_role"),
        sa.Index("project_members_user", "user_id"),
        comment="The owner has a row too; where the two disagree, projects.owner_id is right.",
    )


def _create_judgements() -> None:
    op.create_table(
        "device_classifications",
        _id(),
        _project(),
        sa.Column("device_class", sa.String(3), nullable=False),
        sa.Column("product_code", sa.String(3), nullable=False),
        sa.Column("regulation_number", sa.String(16), nullable=False),
        sa.Column("confidence", sa.Numeric(4, 3), nullable=False, comment="0 to 1."),
        _time("created_at"),
        sa.CheckConstraint("device_class IN ('I', 'II', 'III')", name="device_classifications_class"),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name="device_classifications_confidence"),
        sa.Index("device_classifications_project", "project_id", "created_at", "id"),
        comment="The newest one is current, the others are its history.",
    )
    op.create_table(
        "predicate_devices",
        _id(),
        _project(),
        sa.Column("k_number", sa.String(7), nullable=False),
        sa.Column("device_name", sa.String(200), nullable=False),
        sa.Column("similarity", sa.Numeric(4, 3), nullable=False, comment="0 to 1."),
        sa.Column("selected", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.CheckConstraint("similarity BETWEEN 0 AND 1", name="predicate_devices_similarity"),
        sa.UniqueConstraint("project_id", "k_number", name="predicate_devices_k_number"),
    )


def _create_activity() -> None:
    op.create_table(
        "project_documents",
        _id(),
        _project(),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        _time("created_at"),
        sa.Index("project_documents_project", "project_id", "created_at", "id"),
        sa.Index("project_documents_created", "created_at", "user_id"),
    )
    op.create_table(
        "agent_interactions",
        _id(),
        _project(),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("agent", sa.String(32), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        _time("created_at"),
        sa.Index("agent_interactions_project", "project_id", "created_at", "id"),
        sa.Index("agent_interactions_created", "created_at", "user_id"),
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)


def _project(*, primary_key: bool = False) -> sa.Column[int]:
    key = sa.ForeignKey("projects.id", ondelete="CASCADE")
    return sa.Column("project_id", sa.BigInteger, key, primary_key=primary_key, nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()
    )


def _revision(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"), comment=comment)
