"""What the driver knows about the projects: who certainly may read them, and which revisions are applied.

Everything here is a lower bound. A change counts from the moment its writer was told that it is applied; a
right counts as lost from the moment a request to remove it is sent. So a read is judged only by what it must
show; a read during a change of its reader's rights is not judged (`rights`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

OWNER = "owner"
WHOLE = frozenset({"dashboard", "export"})
"""Views that show a project with its contents."""


@dataclass(slots=True)
class Project:
    """One project. `row` and `contents`: the highest revisions applied."""

    id: int
    owner: int
    row: int
    contents: int
    device_type: str
    members: dict[int, str] = field(default_factory=dict)
    """Users who certainly may read it -> role."""
    known: set[int] = field(default_factory=set)
    """Everybody who ever was a member, or was about to be: no strangers."""
    predicates: list[int] = field(default_factory=list)
    classifications: list[int] = field(default_factory=list)

    def shown_in(self, view: str) -> int:
        """The least revision that a view must show."""
        return max(self.row, self.contents) if view in WHOLE else self.row


class World:
    """All projects, the busiest first, and all users."""

    def __init__(self, projects: list[Project], users: list[int]) -> None:
        self.projects = {project.id: project for project in projects}
        self.users = users
        self.first_revision = max((max(p.row, p.contents) for p in projects), default=0) + 1
        """Revisions from here on are changes of this run."""
        self.visible: defaultdict[int, set[int]] = defaultdict(set)
        self.lost: defaultdict[int, set[int]] = defaultdict(set)
        """By user: projects whose acknowledged removal took the right; each must be refused from then on."""
        self.rights: Counter[int] = Counter()
        """By user: how many changes of their rights have begun."""
        for project in projects:
            for user in project.members:
                self.visible[user].add(project.id)

    def applied(self, project_id: int, revision: int, shown_by: Collection[str]) -> None:
        """A change is in effect."""
        project = self.projects.get(project_id)
        if project is None:
            return
        if "detail" in shown_by:
            project.row = max(project.row, revision)
        if "dashboard" in shown_by:
            project.contents = max(project.contents, revision)

    def changed(self, project: Project) -> bool:
        """Whether a change of this run is applied to it."""
        return max(project.row, project.contents) >= self.first_revision

    def joining(self, project: Project, user: int) -> None:
        """The addition of a member begins."""
        self.rights[user] += 1
        project.known.add(user)
        self.lost[user].discard(project.id)

    def joined(self, project: Project, user: int, role: str) -> None:
        """The member is added, and that is applied."""
        project.members[user] = role
        self.visible[user].add(project.id)

    def leaving(self, project: Project, user: int) -> None:
        """The removal of a member begins."""
        self.rights[user] += 1
        project.members.pop(user, None)
        self.visible[user].discard(project.id)

    def left(self, project: Project, user: int) -> None:
        """The removal was acknowledged."""
        self.lost[user].add(project.id)

    def created(self, project: Project) -> None:
        """A new project is applied."""
        self.projects[project.id] = project
        self.visible[project.owner].add(project.id)

    def deleting(self, project: Project) -> list[int]:
        """The deletion of a project begins; returns who could read it."""
        self.projects.pop(project.id, None)
        readers = list(project.members)
        for user in readers:
            self.leaving(project, user)
        return readers


async def read_world(session: AsyncSession) -> World:
    """The world as it is before the first request."""
    projects = {
        row.id: Project(row.id, row.owner_id, row.revision, row.contents_revision, row.device_type)
        for row in await session.execute(_PROJECTS)
    }
    for project_id, user, role in await session.execute(_MEMBERS):
        projects[project_id].members[user] = role
        projects[project_id].known.add(user)
    for project_id, number in await session.execute(_PREDICATES):
        projects[project_id].predicates.append(number)
    for project_id, number in await session.execute(_CLASSIFICATIONS):
        projects[project_id].classifications.append(number)
    users = list((await session.execute(_USERS)).scalars())
    return World(list(projects.values()), users)


_PROJECTS = text("""
SELECT p.id, p.owner_id, p.revision, p.contents_revision, p.device_type
  FROM projects p
 ORDER BY (SELECT count(*) FROM agent_interactions i WHERE i.project_id = p.id) DESC, p.id
""")
_MEMBERS = text("SELECT project_id, user_id, role FROM project_members ORDER BY project_id, user_id")
_PREDICATES = text("SELECT project_id, id FROM predicate_devices ORDER BY id")
_CLASSIFICATIONS = text("SELECT project_id, id FROM device_classifications ORDER BY id")
_USERS = text("SELECT id FROM users WHERE active ORDER BY id")
