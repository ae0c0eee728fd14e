"""What the simulated users do next: drawn from a seed, popular things more often (Zipf).

The busiest projects are read and written most. Of all requests about one in twenty writes, and one in twenty
is by somebody who must be refused.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from enum import StrEnum
from urllib.parse import quote

from worker.demo.reads import Read
from worker.demo.world import OWNER, Project, World

ZIPF = 1.2
"""Exponent of popularity by rank; 1 is the classic law, and most of a working day is a few projects."""
SEARCHED = 4
"""Texts that users search for, and the device types that they filter by."""


class Act(StrEnum):
    """What one arrival does."""

    READ = "read"
    INTRUDE = "intrude"
    """A read by a stranger or by a removed member."""
    WRITE = "write"


SHARES = {Act.READ: 0.885, Act.INTRUDE: 0.065, Act.WRITE: 0.05}
READ_SHARES = {"dashboard": 36, "detail": 18, "export": 8, "list": 20, "stats": 9, "search": 9}


class Traffic:
    """Draws acts, reads and readers. Arrivals come at random, as those of independent users do."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)  # noqa: S311 - a simulation
        self._ranked = list(world.projects)
        self._weights = _zipf(len(self._ranked))
        self._users = list(world.users)
        self.rng.shuffle(self._users)
        self._user_weights = _zipf(len(self._users))
        kinds = sorted({project.device_type for project in world.projects.values()})
        self.device_types = self.rng.sample(kinds, min(SEARCHED, len(kinds)))

    def gap_s(self, rate: float) -> float:
        """Seconds until the next arrival."""
        return self.rng.expovariate(rate)

    def act(self) -> Act:
        """What the next arrival does."""
        return self.rng.choices(list(SHARES), list(SHARES.values()))[0]

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
        if view in ("dashboard", "detail", "export"):
            project = self.project()
            return self.read_of_project(view, project, self.rng.choice(list(project.members)))
        return self.read_of_user(view, self.user())

    def read_of_project(self, view: str, project: Project, user: int) -> Read:
        """A read of one project by anybody."""
        path = f"/projects/{project.id}"
        if view == "dashboard":
            path += "/dashboard"
        elif view == "export":
            path += self.rng.choice(("/export", "/export", "/export?format=csv"))
        return Read(view, user, path, project.id)

    def intrusion(self) -> tuple[Read, bool]:
        """A read that must be refused, and whether its reader was removed (or never a member)."""
        removed = [user for user, projects in self.world.lost.items() if projects]
        view = self.rng.choice(("dashboard", "dashboard", "detail", "export"))
        if removed and self.rng.random() < 0.5:  # noqa: PLR2004 - as often removed as never a member
            user = self.rng.choice(removed)
            number = self.rng.choice(sorted(self.world.lost[user]))
            return self.read_of_project(view, Project(number, 0, 0, 0, ""), user), True
        project = self.project()
        user = self.stranger(project)
        return self.read_of_project(view, project, user), False

    def stranger(self, project: Project) -> int:
        """A user who never was a member."""
        return self.rng.choice([user for user in self._users if user not in project.known])

    def writer(self, project: Project) -> int:
        """Somebody who may change the project: its owner or an editor."""
        return self.rng.choice([user for user, role in project.members.items() if role != "viewer"])

    def removable(self, project: Project) -> int | None:
        """A member who can be removed."""
        others = [user for user, role in project.members.items() if role != OWNER]
        return self.rng.choice(others) if others else None

    def read_of_user(self, view: str, user: int) -> Read:
        """A read of what one user sees."""
        if view == "stats":
            return Read(view, user, "/users/me/stats")
        word = quote(self.rng.choice(self.device_types))
        if view == "search":
            return Read(view, user, f"/users/me/search?q={word}")
        filters = self.rng.choices(
            ("", "?limit=10", "?status=in_progress", f"?device_type={word}", f"?q={word}"), (60, 10, 14, 8, 8)
        )[0]
        whole = filters in ("", "?limit=10")
        return Read(view, user, f"/users/me/projects{filters}", first_page=whole)


def _zipf(count: int) -> Sequence[float]:
    return list(itertools.accumulate(rank**-ZIPF for rank in range(1, count + 1)))
