"""The frame of every write to a project: lock it, check the actor's role, number the change.

The lock comes first and in a statement of its own, so that permission and audience are read as the previous
writer committed them, and revisions are drawn in the order of commits (RACES 9, 32).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.permission import lock_project, require_role
from jobs.scopes import WRITERS, Role
from jobs.tables import project_revision, projects
from stoker import Stoker, TransactionReceipt


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did.

    `id`: of the row written (of a member: the user). `revision`: the number of this change. `shown_by`: the
    views whose `revision` is at least this number from now on; a change of members is shown by none.
    """

    id: int
    project_id: int
    revision: int
    shown_by: frozenset[str]


Result = tuple[Written, TransactionReceipt]

BY_ALL = frozenset({"detail", "dashboard", "export", "list", "search", "stats"})
BY_CONTENTS = frozenset({"dashboard", "export"})
BY_NONE: frozenset[str] = frozenset()


class Writer:
    """Writes through one Stoker."""

    def __init__(self, stoker: Stoker) -> None:
        self._stoker = stoker

    @asynccontextmanager
    async def _changing(
        self, actor: int, project_id: int, allowed: Collection[Role] = WRITERS
    ) -> AsyncIterator[AsyncSession]:
        """A transaction that holds the project's row lock; commits at the end."""
        async with self._stoker.session() as session, session.begin():
            await lock_project(session, project_id)
            await require_role(session, actor, project_id, allowed)
            yield session


async def next_revision(session: AsyncSession, project_id: int, column: str) -> int:
    """Number a change of the project in `revision`, `contents_revision` or `members_revision`."""
    numbered = await session.execute(
        update(projects)
        .where(projects.c.id == project_id)
        .values({column: project_revision.next_value()})
        .returning(projects.c[column])
    )
    return int(numbered.scalar_one())
