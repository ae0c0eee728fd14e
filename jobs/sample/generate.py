"""Rows of sample data, computed from a seed alone: the same seed, size and time give the same rows.

Activity is Zipf-like: a few projects get most of it, as in a real office. Touches no server.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from jobs.sample import vocabulary as words
from jobs.sample.vocabulary import Kind

Row = tuple[object, ...]

PROJECTS_PER_USER = 10
PREDICATES_PER_PROJECT = 10
INTERACTIONS_PER_PROJECT = 50
DOCUMENTS_PER_PROJECT = 4
ZIPF = 0.8
"""Exponent of activity by rank: 0 is even, 1 the classic law. At 0.8 one project in ten gets half of it."""
OLDEST = timedelta(days=400)
"""Age of the oldest projects."""


@dataclass(frozen=True, slots=True)
class _Project:
    id: int
    kind: Kind
    members: tuple[int, ...]
    age: timedelta
    idle: timedelta


class Sample:
    """All tables' rows for `users` users, as of `now`."""

    def __init__(self, seed: int, users: int, now: datetime) -> None:
        self.users_count = users
        self._now = now
        self._seed = seed

    @cached_property
    def counts(self) -> dict[str, int]:
        """Rows per table in the order of loading; members, classifications and documents are computed."""
        projects = self.users_count * PROJECTS_PER_USER
        return {
            "users": self.users_count,
            "projects": projects,
            "project_members": sum(len(project.members) for project in self._projects),
            "device_classifications": sum(_classifications(project) for project in self._projects),
            "predicate_devices": projects * PREDICATES_PER_PROJECT,
            "project_documents": projects * DOCUMENTS_PER_PROJECT,
            "agent_interactions": projects * INTERACTIONS_PER_PROJECT,
        }

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of one table, ids ascending; each table has its own random numbers."""
        makers = {
            "users": self._users,
            "projects": self._project_rows,
            "project_members": self._members,
            "device_classifications": self._classifications,
            "predicate_devices": self._predicates,
            "project_documents": self._documents,
            "agent_interactions": self._interactions,
        }
        return makers[table](self._random(table))

    def _random(self, table: str) -> random.Random:
        return random.Random(f"{self._seed}/{self.users_count}/{table}")  # noqa: S311 - data, not secrets

    @cached_property
    def _projects(self) -> Sequence[_Project]:
        rng = self._random("shape")
        everybody = range(1, self.users_count + 1)
        projects = []
        for number in range(1, self.users_count * PROJECTS_PER_USER + 1):
            owner = (number - 1) % self.users_count + 1
            team = rng.sample(everybody, min(rng.choice((0, 0, 1, 1, 2, 3, 4)), self.users_count))
            age = OLDEST * rng.random()
            members = (owner, *(user for user in team if user != owner))
            idle = age * rng.random() ** 2
            projects.append(_Project(number, rng.choice(words.KINDS), members, age, idle))
        return projects

    @cached_property
    def _popularity(self) -> Sequence[float]:
        # Popular projects are drawn at random, so that ids do not predict popularity.
        ranks = list(range(1, len(self._projects) + 1))
        self._random("ranks").shuffle(ranks)
        return list(itertools.accumulate(rank**-ZIPF for rank in ranks))

    def _users(self, rng: random.Random) -> Iterator[Row]:
        for number in range(1, self.users_count + 1):
            first, last = rng.choice(words.FIRST_NAMES), rng.choice(words.LAST_NAMES)
            email = f"{first}.{last}.{number}@example.com".lower()
            yield number, f"{first} {last}", email, True

    def _project_rows(self, rng: random.Random) -> Iterator[Row]:
        for project in self._projects:
            status = rng.choices(("draft", "in_progress", "completed"), (3, 5, 2))[0]
            yield (
                project.id,
                project.members[0],
                _device_name(rng, project.kind),
                status,
                project.kind.device_type,
                _intended_use(rng, project.kind),
                self._now - project.age,
                self._now - project.idle,
                project.id,
                project.id,
                project.id,
            )

    def _members(self, rng: random.Random) -> Iterator[Row]:
        for project in self._projects:
            for place, user in enumerate(project.members):
                yield project.id, user, "owner" if place == 0 else rng.choice(("editor", "viewer"))

    def _classifications(self, rng: random.Random) -> Iterator[Row]:
        numbers = itertools.count(1)
        for project in self._projects:
            count = _classifications(project)
            for place in range(count):
                # The last one is current and correct; earlier ones were guesses.
                kind = project.kind if place == count - 1 else rng.choice(words.KINDS)
                at = self._now - project.age * (1 - (place + rng.random()) / (count + 1))
                share = _share(rng.betavariate(8, 2))
                yield (
                    next(numbers),
                    project.id,
                    kind.device_class,
                    kind.product_code,
                    kind.regulation_number,
                    share,
                    at,
                )

    def _predicates(self, rng: random.Random) -> Iterator[Row]:
        numbers = itertools.count(1)
        for project in self._projects:
            taken: set[str] = set()
            while len(taken) < PREDICATES_PER_PROJECT:
                k_number = _k_number(rng)
                if k_number in taken:
                    continue
                taken.add(k_number)
                similarity = _share(rng.betavariate(5, 3))
                name = _device_name(rng, project.kind)
                yield next(numbers), project.id, k_number, name, similarity, rng.random() < 0.2  # noqa: PLR2004

    def _documents(self, rng: random.Random) -> Iterator[Row]:
        for number, (at, project) in enumerate(self._activity(rng, DOCUMENTS_PER_PROJECT), start=1):
            kind, title = rng.choice(words.DOCUMENTS)
            name = title.format(n=rng.randint(1, 99), part=rng.choice(words.PARTS))
            size = int(rng.lognormvariate(12, 1.5))
            yield number, project.id, rng.choice(project.members), name, kind, size, at

    def _interactions(self, rng: random.Random) -> Iterator[Row]:
        for number, (at, project) in enumerate(self._activity(rng, INTERACTIONS_PER_PROJECT), start=1):
            place = rng.randrange(len(words.AGENTS))
            summary = _summary(rng, words.ANSWERS[place], project.kind)
            yield number, project.id, rng.choice(project.members), words.AGENTS[place], summary, at

    def _activity(self, rng: random.Random, per_project: int) -> list[tuple[datetime, _Project]]:
        """When something happened and to which project, oldest first."""
        count = len(self._projects) * per_project
        chosen = rng.choices(self._projects, cum_weights=self._popularity, k=count)
        happened = [
            (self._now - project.idle - (project.age - project.idle) * rng.random() ** 3, project)
            for project in chosen
        ]
        return sorted(happened, key=lambda item: (item[0], item[1].id))


def _classifications(project: _Project) -> int:
    return 1 + project.id % 2


def _share(value: float) -> Decimal:
    return Decimal(round(value * 1000)) / 1000


def _k_number(rng: random.Random) -> str:
    return f"K{rng.randint(0, 25):02d}{rng.randint(1, 3999):04d}"


def _device_name(rng: random.Random, kind: Kind) -> str:
    model = f"{rng.choice(words.LINES)} {rng.choice('ABCDEFGHKLMNPRSTVX')}{rng.randint(10, 990)}"
    return f"{rng.choice(words.BRANDS)} {model}{rng.choice(words.VARIANTS)} {kind.device_type}"


def _intended_use(rng: random.Random, kind: Kind) -> str:
    text = (
        f"The device is intended to {kind.does} {kind.measures} in {rng.choice(words.PATIENTS)}, for use by "
        f"{rng.choice(words.USERS_OF_DEVICES)} in {rng.choice(words.PLACES)} and {rng.choice(words.PLACES)}."
    )
    return " ".join((text, *rng.sample(words.LIMITS, rng.randint(1, 3))))


def _summary(rng: random.Random, answers: Sequence[str], kind: Kind) -> str:
    return rng.choice(answers).format(
        klass=kind.device_class,
        reg=kind.regulation_number,
        code=kind.product_code,
        n=rng.randint(2, 9999),
        yy=f"{rng.randint(5, 25):02d}",
        k=_k_number(rng),
        k2=_k_number(rng),
        part=rng.choice(words.PARTS),
        std=rng.choice(words.STANDARDS),
        s=rng.randint(1, 20),
        t=rng.randint(1, 9),
    )
