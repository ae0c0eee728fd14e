"""Which views of which scopes each event invalidates.

`invalidates` needs only the event. `audience` adds the result of a query when the event is applied, so that a
member who joined in between keeps no stale list (RACES 32). Tests compare every view before and after every
write (test_projects_oracle), and before and after a change of every column (test_projects_covered).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.audience import projects_of, viewers
from jobs.events import (
    ClassificationAdded,
    ClassificationRemoved,
    ClassificationUpdated,
    ContentsEvent,
    DocumentAdded,
    DocumentRemoved,
    InteractionAdded,
    InteractionRemoved,
    MemberAdded,
    MemberEvent,
    MemberRemoved,
    MemberRoleChanged,
    OwnerChanged,
    PredicateAdded,
    PredicateRemoved,
    PredicateUpdated,
    ProjectCreated,
    ProjectDeleted,
    ProjectEvent,
    ProjectUpdated,
    UserChanged,
    UserDeactivated,
    UserRenamed,
)
from jobs.scopes import PROJECT, USER
from stoker import Invalidation, Rule

ACCESS = frozenset({"access"})
CONTENTS = frozenset({"dashboard", "export"})
LISTS = frozenset({"list", "stats", "search"})
PAGES = frozenset({"detail", "dashboard", "export"})
"""The views of a project that show its row, and its owner's name."""
NAMING_LISTS = frozenset({"list", "search"})
"""The views of a user that show the owners of projects."""


def project_updated(event: ProjectEvent) -> list[Invalidation]:
    """All that its readers see of the project, and their lists; its row does not name them (ADR 12)."""
    return [Invalidation(PROJECT.scope(event.project_id), PAGES), *_lists(event.audience, hard=False)]


def project_created(event: ProjectEvent) -> list[Invalidation]:
    """Every view of the project, and the lists of everyone who can see it."""
    return [Invalidation(PROJECT.scope(event.project_id)), *_lists(event.audience, hard=False)]


def project_revoked(event: ProjectEvent) -> list[Invalidation]:
    """Every view and list: old bytes must never be served after it, not even marked stale (RACES 22)."""
    return [
        Invalidation(PROJECT.scope(event.project_id), hard=True),
        *_lists(event.audience, hard=True),
    ]


def contents_changed(event: ContentsEvent) -> list[Invalidation]:
    """Dashboard and export of the project, nothing else."""
    return [Invalidation(PROJECT.scope(event.project_id), CONTENTS)]


def member_changed(event: MemberEvent) -> list[Invalidation]:
    """Who may read the project, and the lists of that one user."""
    return [
        Invalidation(PROJECT.scope(event.project_id), ACCESS, hard=True),
        *_lists([event.user_id], hard=True),
    ]


def user_renamed(event: UserRenamed) -> list[Invalidation]:
    """The user's own lists; the projects, and who sees them, are asked for when the event is applied."""
    return [Invalidation(USER.scope(event.user_id), NAMING_LISTS)]


def user_deactivated(event: UserDeactivated) -> list[Invalidation]:
    """All that the user could read, and their place among the readers of projects."""
    return [
        Invalidation(USER.scope(event.user_id), hard=True),
        *_access(event.project_ids),
    ]


def user_changed(event: UserChanged) -> list[Invalidation]:
    """Every entry of the user."""
    return [Invalidation(USER.scope(event.user_id))]


async def viewers_now(session: AsyncSession, events: Sequence[ProjectEvent]) -> list[Invalidation]:
    """The lists of everyone who can see the projects now."""
    return _lists(await viewers(session, {event.project_id for event in events}), hard=False)


async def viewers_now_hard(session: AsyncSession, events: Sequence[ProjectEvent]) -> list[Invalidation]:
    """The same, hard."""
    return _lists(await viewers(session, {event.project_id for event in events}), hard=True)


async def shows_the_name(session: AsyncSession, events: Sequence[UserRenamed]) -> list[Invalidation]:
    """The projects that the users own now, and the lists of everyone who sees those."""
    rows = await session.execute(_OWNED_AND_SEEN, {"ids": sorted({event.user_id for event in events})})
    return [
        Invalidation(PROJECT.scope(number), PAGES)
        if kind == PROJECT.name
        else Invalidation(USER.scope(number), NAMING_LISTS)
        for kind, number in rows
    ]


async def projects_now(session: AsyncSession, events: Sequence[UserDeactivated]) -> list[Invalidation]:
    """Access of the projects that the users belong to now."""
    return _access(await projects_of(session, {event.user_id for event in events}))


def _lists(user_ids: Iterable[int], *, hard: bool) -> list[Invalidation]:
    return [Invalidation(USER.scope(user_id), LISTS, hard=hard) for user_id in user_ids]


def _access(project_ids: Iterable[int]) -> list[Invalidation]:
    return [Invalidation(PROJECT.scope(project_id), ACCESS, hard=True) for project_id in project_ids]


_OWNED_AND_SEEN = text("""
WITH owned AS (SELECT id, owner_id FROM projects WHERE owner_id = ANY(CAST(:ids AS bigint[])))
SELECT 'project' AS kind, id FROM owned
UNION SELECT 'user', owner_id FROM owned
UNION SELECT 'user', m.user_id FROM owned JOIN project_members m ON m.project_id = owned.id
""")

ROW = ("name", "status", "device_type", "intended_use", "updated_at", "revision")
"""The columns of `projects` that an update changes."""

RULES: tuple[Rule[Any], ...] = (
    Rule(ProjectCreated, project_created, viewers_now, covers=("projects.id", "projects.created_at")),
    Rule(ProjectUpdated, project_updated, viewers_now, covers=tuple(f"projects.{one}" for one in ROW)),
    Rule(ProjectDeleted, project_revoked, viewers_now_hard, covers=("projects.id",)),
    Rule(OwnerChanged, project_revoked, viewers_now_hard, covers=("projects.owner_id",)),
    *(
        Rule(event, contents_changed, covers=(f"{table}.*", "projects.contents_revision"))
        for table, events in {
            "device_classifications": (ClassificationAdded, ClassificationUpdated, ClassificationRemoved),
            "predicate_devices": (PredicateAdded, PredicateUpdated, PredicateRemoved),
            "project_documents": (DocumentAdded, DocumentRemoved),
            "agent_interactions": (InteractionAdded, InteractionRemoved),
        }.items()
        for event in events
    ),
    *(
        Rule(event, member_changed, covers=("project_members.*", "projects.members_revision"))
        for event in (MemberAdded, MemberRemoved, MemberRoleChanged)
    ),
    Rule(UserRenamed, user_renamed, shows_the_name, covers=("users.name",)),
    Rule(UserDeactivated, user_deactivated, projects_now, covers=("users.active",)),
    Rule(UserChanged, user_changed, covers=("users.id",)),
)
