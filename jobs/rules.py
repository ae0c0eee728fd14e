"""Which views of which scopes each event invalidates.

`invalidates` needs only the event. `audience` adds the result of a query when the event is applied, so that a
member who joined in between keeps no stale list (RACES 32). A test changes every column that a view reads and
compares every view before and after (test_projects_covered).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.audience import projects_of, viewers
from jobs.events import (
    ContentsChanged,
    MemberChanged,
    OwnerChanged,
    ProjectChanged,
    UserChanged,
    UserRenamed,
    UserSwitched,
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


def project_changed(event: ProjectChanged) -> list[Invalidation]:
    """All that its readers see of the project; its row does not name them (ADR 12)."""
    return [Invalidation(PROJECT.scope(event.project_id), PAGES)]


def owner_changed(event: OwnerChanged) -> list[Invalidation]:
    """Every view and list: old bytes must never be served after it, not even marked stale (RACES 22)."""
    return [
        Invalidation(PROJECT.scope(event.project_id), hard=True),
        *_lists([event.owner_id], hard=True),
    ]


def contents_changed(event: ContentsChanged) -> list[Invalidation]:
    """Dashboard and export of the project, nothing else."""
    return [Invalidation(PROJECT.scope(event.project_id), CONTENTS)]


def member_changed(event: MemberChanged) -> list[Invalidation]:
    """Who may read the project, and the lists of that one user."""
    return [
        Invalidation(PROJECT.scope(event.project_id), ACCESS, hard=True),
        *_lists([event.user_id], hard=True),
    ]


def user_switched(event: UserSwitched) -> list[Invalidation]:
    """All that the user could read; their place among the readers of projects is asked for."""
    return [Invalidation(USER.scope(event.user_id), hard=True)]


def user_changed(event: UserChanged) -> list[Invalidation]:
    """Every entry of the user."""
    return [Invalidation(USER.scope(event.user_id))]


async def viewers_now(session: AsyncSession, events: Sequence[ProjectChanged]) -> list[Invalidation]:
    """The lists of everyone who can see the projects now."""
    return _lists(await viewers(session, {event.project_id for event in events}), hard=False)


async def viewers_now_hard(session: AsyncSession, events: Sequence[OwnerChanged]) -> list[Invalidation]:
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


async def projects_now(session: AsyncSession, events: Sequence[UserSwitched]) -> list[Invalidation]:
    """Access of the projects that the users belong to now."""
    project_ids = await projects_of(session, {event.user_id for event in events})
    return [Invalidation(PROJECT.scope(project_id), ACCESS, hard=True) for project_id in project_ids]


def _lists(user_ids: Iterable[int], *, hard: bool) -> list[Invalidation]:
    return [Invalidation(USER.scope(user_id), LISTS, hard=hard) for user_id in user_ids]


_OWNED_AND_SEEN = text("""
WITH owned AS (SELECT id, owner_id FROM projects WHERE owner_id = ANY(CAST(:ids AS bigint[])))
SELECT 'project' AS kind, id FROM owned
UNION SELECT 'user', owner_id FROM owned
UNION SELECT 'user', m.user_id FROM owned JOIN project_members m ON m.project_id = owned.id
""")

RULES: tuple[Rule[Any], ...] = (
    Rule(ProjectChanged, project_changed, viewers_now),
    Rule(OwnerChanged, owner_changed, viewers_now_hard),
    Rule(ContentsChanged, contents_changed),
    Rule(MemberChanged, member_changed),
    Rule(UserRenamed, lambda _: (), shows_the_name),
    Rule(UserSwitched, user_switched, projects_now),
    Rule(UserChanged, user_changed),
)
