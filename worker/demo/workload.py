"""The projects domain in a run of chaos or a demonstration: what `make chaos` and `make demo` drive."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from jobs import domain
from stoker import Domain, Stoker
from stoker.chaos import Read, Verdict, Web
from worker.demo.edits import Edits
from worker.demo.reads import PROJECT_VIEWS, Expected, Shown, expected, project_of, shown, staleness
from worker.demo.traffic import Traffic
from worker.demo.world import World, read_world

USERS = 40
"""Of a run of chaos: few, so that every entry can be compared at its end."""
NEWER_VIEW, NEWER_EVENT = "search", "owner_changed"
"""What the release before this one did not have."""


class ProjectUsers:
    """Users who read and edit projects, and what is known of them."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.traffic = Traffic(world, rng)
        self.edits = Edits(self.traffic)

    def read(self) -> Read:
        """A read that must be served."""
        return self.traffic.read()

    def intrusion(self) -> Read | None:
        """A read that must be refused."""
        return self.traffic.intrusion()

    async def edit(self, web: Web, due: float) -> None:
        """One change of a project, of what is in it, or of who may see it."""
        await self.edits.one(web, due)

    def rights(self, reader: int) -> int:
        """How many changes of a user's rights have begun."""
        return self.world.rights[reader]

    def expected(self, read: Read) -> Expected:
        """What is known now."""
        return expected(self.world, read)

    def shown(self, read: Read, body: bytes) -> Shown:
        """The revisions in a body."""
        return shown(read.view, body)

    def judge(self, read: Read, expected: Expected, shown: Shown) -> Verdict:
        """Compare the two; a reader whose rights are being changed is not judged."""
        same_rights = project_of(read) is not None or expected.rights == self.world.rights[read.reader]
        first = self.world.first_revision
        return Verdict(
            stale=staleness(expected, shown, same_rights=same_rights),
            forbidden=tuple(f"project {one}" for one in sorted(expected.never & shown.items.keys())),
            of_changed=expected.newest >= first
            or any(expected.least.get(number, 0) >= first for number in shown.items),
        )

    def candidates(self, served: Iterable[Read]) -> Iterator[Read]:
        """Entries that were served, changed projects first, then dashboards that only warming has built."""
        possible = [read for read in served if self._may_read(read)]
        changed = {project.id for project in self.world.projects.values() if self.world.changed(project)}
        possible.sort(key=lambda read: not self._shows_any(read, changed))
        known = {read.scope_id for read in possible if read.view == "dashboard"}
        warmed = (
            self.traffic.read_of_project("dashboard", project, project.owner)
            for project in self.world.projects.values()
            if project.id not in known
        )
        return itertools.chain(possible, warmed)

    def _may_read(self, read: Read) -> bool:
        if (number := project_of(read)) is None:
            return True
        project = self.world.projects.get(number)
        return project is not None and read.reader in project.members

    def _shows_any(self, read: Read, changed: set[int]) -> bool:
        return (
            read.scope_id in changed
            if read.view in PROJECT_VIEWS
            else bool(self.world.visible[read.reader] & changed)
        )


class ProjectsWorkload:
    """Edits of projects and of what is in them, members who come and go; every view is read."""

    domain = "jobs"
    webapp = "worker.demo.webapp:app"

    async def prepare(self, database_url: str, seed: int) -> None:
        """Some users and what belongs to them."""
        assert domain.sample_data is not None  # noqa: S101 - this domain has some
        await domain.sample_data.load(database_url, seed, USERS, lambda _done, _total: None)

    async def users(self, stoker: Stoker, rng: Random) -> ProjectUsers:
        """The users of one run."""
        async with stoker.session() as session:
            return ProjectUsers(await read_world(session), rng)

    def older(self, domain: Domain) -> Domain:
        """Without the search view and without the event that projects have another owner.

        It has no captures: the newer release has made its own.
        """
        return replace(
            domain,
            views=tuple(view for view in domain.views if view.name != NEWER_VIEW),
            rules=tuple(rule for rule in domain.rules if rule.event.kind != NEWER_EVENT),
            captures=(),
        )


workload = ProjectsWorkload()
