"""What the simulated users do next: drawn from a seed, popular projects more often (Zipf).

The busiest projects are read and written most.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from urllib.parse import urlencode

from stoker.chaos import Read
from worker.demo.reads import PROJECT_VIEWS
from worker.demo.world import OWNER, Project, World

ZIPF = 1.2
"""Exponent of popularity by rank; 1 is the classic law, and most of a working day is a few projects."""
SEARCHED = 4
"""Texts that users search for, and the device types that they filter by."""
READ_SHARES = {"dashboard": 36, "detail": 18, "export": 8, "list": 20, "stats": 9, "search": 9}


class Traffic:
    """Draws reads, readers and writers."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.rng = rng
        self._ranked = list(world.projects)
        self._weights = _zipf(len(self._ranked))
        self._users = list(world.users)
        self.rng.shuffle(self._users)
        self._user_weights = _zipf(len(self._users))
        kinds = sorted({project.device_type for project in world.projects.values()})
        self.device_types = self.rng.sample(kinds, min(SEARCHED, len(kinds)))

    def project(self) -> Project:
        """A project that still exists."""
        while True:
            [number] = self.rng.choices(self._ranked, cum_weights=self._weights)
            found = self.world.projects.get(number)
            if found is not None:
                return found

    def user(self) -> int:
        """Any user."""
        return self.rng.choices(self._users, cum_weights=self._user_weights)[0]

    def read(self) -> Read:
        """A read that must be served."""
        [view] = self.rng.choices(list(READ_SHARES), list(READ_SHARES.values()))
        if view in PROJECT_VIEWS:
            project = self.project()
            return self.read_of_project(view, project, self.rng.choice(list(project.members)))
        return self.read_of_user(view, self.user())

    def read_of_project(self, view: str, project: Project, user: int) -> Read:
        """A read of one project by anybody."""
        path, params = f"/projects/{project.id}", dict[str, str]()
        if view == "dashboard":
            path += "/dashboard"
        elif view == "export":
            path += "/export"
            params = self.rng.choice(({}, {}, {"format": "csv"}))
        return _read(view, project.id, user, path, params)

    def intrusion(self) -> Read | None:
        """A read by somebody who was removed, or never was a member."""
        removed = [user for user, projects in self.world.lost.items() if projects]
        view = self.rng.choice(("dashboard", "dashboard", "detail", "export"))
        if removed and self.rng.random() < 0.5:  # noqa: PLR2004 - as often removed as never a member
            user = self.rng.choice(removed)
            number = self.rng.choice(sorted(self.world.lost[user]))
            return self.read_of_project(view, Project(number, 0, 0, 0, ""), user)
        project = self.project()
        user_or_none = self.stranger(project)
        return None if user_or_none is None else self.read_of_project(view, project, user_or_none)

    def stranger(self, project: Project) -> int | None:
        """A user who never was a member, or one who was removed where there are no others."""
        strangers = [user for user in self._users if user not in project.known]
        strangers = strangers or [user for user in self._users if project.id in self.world.lost[user]]
        return self.rng.choice(strangers) if strangers else None

    def writer(self, project: Project) -> int:
        """Somebody who may change the project: its owner or an editor."""
        return self.rng.choice([user for user, role in project.members.items() if role != "viewer"])

    def removable(self, project: Project) -> int | None:
        """A member who can be removed."""
        others = [user for user, role in project.members.items() if role != OWNER]
        return self.rng.choice(others) if others else None

    def read_of_user(self, view: str, user: int) -> Read:
        """A read of what one user sees."""
        word = self.rng.choice(self.device_types)
        if view == "stats":
            return _read(view, user, user, "/users/me/stats", {})
        if view == "search":
            return _read(view, user, user, "/users/me/search", {"q": word}, {"query": word})
        filters: dict[str, str] = self.rng.choices(
            ({}, {"limit": "10"}, {"status": "in_progress"}, {"device_type": word}, {"q": word}),
            (60, 10, 14, 8, 8),
        )[0]
        return _read(view, user, user, "/users/me/projects", filters)


def _read(
    view: str,
    scope_id: int,
    user: int,
    path: str,
    query: dict[str, str],
    params: dict[str, str] | None = None,
) -> Read:
    """A read; `params` are those of the view where the URL calls them otherwise."""
    return Read(view, scope_id, user, f"{path}?{urlencode(query)}" if query else path, params or query)


def _zipf(count: int) -> Sequence[float]:
    return list(itertools.accumulate(rank**-ZIPF for rank in range(1, count + 1)))
