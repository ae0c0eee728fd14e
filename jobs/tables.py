"""The tables of the domain: users, projects and what projects contain.

They equal the tables that `migrations/` creates (a test compares them). One sequence numbers the changes of
all projects. A number is drawn under the project's row lock, so a project's numbers have the order of its
commits.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Numeric,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

metadata = MetaData()

project_revision = Sequence("project_revision", metadata=metadata)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(), primary_key=True)


def _time(name: str) -> Column[object]:
    # clock_timestamp, not now(): two rows of one transaction keep their order.
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())


def _revision(name: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"), comment=comment)


def _project() -> Column[int]:
    return Column("project_id", ForeignKey("projects.id", ondelete="CASCADE"), nullable=False)


users = Table(
    "users",
    metadata,
    _id(),
    Column("name", String(120), nullable=False),
    Column("email", String(254), nullable=False),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    UniqueConstraint("email", name="users_email"),
    comment="Never deleted, only deactivated: their projects remain.",
)

projects = Table(
    "projects",
    metadata,
    _id(),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("status", String(16), nullable=False, server_default="draft"),
    Column("device_type", String(100), nullable=False),
    Column("intended_use", Text, nullable=False, server_default=""),
    _time("created_at"),
    _time("updated_at"),
    _revision("revision", "The last change of this row or of its owner."),
    _revision("contents_revision", "The last change of a classification, predicate, document, interaction."),
    _revision("members_revision", "The last change of a member; no view shows it."),
    CheckConstraint("status IN ('draft', 'in_progress', 'completed')", name="projects_status"),
    Index("projects_owner", "owner_id"),
    Index("projects_updated", "updated_at"),
    comment="updated_at is of this row alone: lists show it, and they do not change with the contents.",
)

project_members = Table(
    "project_members",
    metadata,
    Column("project_id", ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("role", String(16), nullable=False),
    CheckConstraint("role IN ('owner', 'editor', 'viewer')", name="project_members_role"),
    Index("project_members_user", "user_id"),
    comment="The owner has a row too; where the two disagree, projects.owner_id is right.",
)

device_classifications = Table(
    "device_classifications",
    metadata,
    _id(),
    _project(),
    Column("device_class", String(3), nullable=False),
    Column("product_code", String(3), nullable=False),
    Column("regulation_number", String(16), nullable=False),
    Column("confidence", Numeric(4, 3), nullable=False, comment="0 to 1."),
    _time("created_at"),
    CheckConstraint("device_class IN ('I', 'II', 'III')", name="device_classifications_class"),
    CheckConstraint("confidence BETWEEN 0 AND 1", name="device_classifications_confidence"),
    Index("device_classifications_project", "project_id", "created_at", "id"),
    comment="The newest one is current, the others are its history.",
)

predicate_devices = Table(
    "predicate_devices",
    metadata,
    _id(),
    _project(),
    Column("k_number", String(7), nullable=False),
    Column("device_name", String(200), nullable=False),
    Column("similarity", Numeric(4, 3), nullable=False, comment="0 to 1."),
    Column("selected", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("similarity BETWEEN 0 AND 1", name="predicate_devices_similarity"),
    UniqueConstraint("project_id", "k_number", name="predicate_devices_k_number"),
)

project_documents = Table(
    "project_documents",
    metadata,
    _id(),
    _project(),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("title", String(200), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    _time("created_at"),
    Index("project_documents_project", "project_id", "created_at", "id"),
    Index("project_documents_created", "created_at", "user_id"),
)

agent_interactions = Table(
    "agent_interactions",
    metadata,
    _id(),
    _project(),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("agent", String(32), nullable=False),
    Column("summary", Text, nullable=False),
    _time("created_at"),
    Index("agent_interactions_project", "project_id", "created_at", "id"),
    Index("agent_interactions_created", "created_at", "user_id"),
)
