"""A trace: who reads and who writes what, when. It is drawn from a seed, so both sides get the same requests.

Popular projects are read and written most (Zipf), with one write for 20 reads. Around each write, other users
who have the project open read it again. Touches no server.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

ZIPF = 1.3
WRITES_PER_ARRIVAL = 1 / 18
REFETCHES = 3
"""Reads around a write, besides those that come by chance: one write to 20 reads in all."""
BEFORE_S, AFTER_S = 0.01, 0.04
"""How long before and after the beginning of a write they begin."""
INTRUSIONS = 0.065
"""Share of reads that must be refused: half by members who were removed, half by strangers."""
PROJECT_VIEWS = {"dashboard": 36, "detail": 18, "export": 8}
USER_VIEWS = {"list": 20, "stats": 9, "search": 9}
WORDS = ("pump", "monitor", "catheter", "glucose")


class Edit(StrEnum):
    """What a write does."""

    PROJECT = "project"
    PREDICATE = "predicate"
    INTERACTION = "interaction"
    ADD_MEMBER = "add_member"
    REMOVE_MEMBER = "remove_member"


EDITS = {
    Edit.PROJECT: 25,
    Edit.PREDICATE: 40,
    Edit.INTERACTION: 20,
    Edit.ADD_MEMBER: 7,
    Edit.REMOVE_MEMBER: 8,
}

ALONE = frozenset({Edit.PROJECT, Edit.PREDICATE, Edit.INTERACTION})
"""Edits that need nobody beside the owner."""


@dataclass(slots=True)
class Team:
    """A project as the trace begins: its owner, all its members, and one predicate device."""

    owner: int
    members: list[int]
    predicate: int


@dataclass(frozen=True, slots=True)
class Read:
    """A reader asks for a view of a project, or of their own (`project` is 0 then)."""

    view: str
    reader: int
    project: int = 0
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Write:
    """The owner changes a project; `user` is the member who is added or removed."""

    edit: Edit
    project: int
    actor: int
    item: int = 0
    user: int = 0


Act = Read | Write


def record(
    teams: Mapping[int, Team], seed: int, seconds: float, per_second: float
) -> list[tuple[float, Act]]:
    """Acts by the second at which they begin, in that order. `teams` is as it was at the beginning."""
    acts = list(_Recorder(teams, seed).acts(seconds, per_second))
    return sorted(acts, key=lambda timed: timed[0])


class _Recorder:
    def __init__(self, teams: Mapping[int, Team], seed: int) -> None:
        self._rng = random.Random(seed)
        self._teams = {
            number: Team(one.owner, [*one.members], one.predicate) for number, one in teams.items()
        }
        self._known = {number: set(one.members) for number, one in teams.items()}
        self._removed: list[tuple[int, int]] = []
        self._cumulative: dict[int, Sequence[float]] = {}
        self._projects = self._rng.sample(sorted(teams), len(teams))
        users = sorted({user for team in teams.values() for user in team.members})
        self._users = self._rng.sample(users, len(users))

    def acts(self, seconds: float, per_second: float) -> Iterator[tuple[float, Act]]:
        at = 0.0
        while (at := at + self._rng.expovariate(per_second)) < seconds:
            if self._rng.random() >= WRITES_PER_ARRIVAL:
                yield at, self._read()
                continue
            write = self._write()
            yield at, write
            for _ in range(REFETCHES):
                yield max(0.0, at + self._rng.uniform(-BEFORE_S, AFTER_S)), self._refetch(write.project)

    def _read(self) -> Read:
        if self._rng.random() < INTRUSIONS:
            return self._intrusion()
        view = self._one_of({**PROJECT_VIEWS, **USER_VIEWS})
        if view in USER_VIEWS:
            return self._own(view, self._popular(self._users))
        project = self._popular(self._projects)
        return self._of_project(view, project, self._rng.choice(self._teams[project].members))

    def _refetch(self, project: int) -> Read:
        reader = self._rng.choice(self._teams[project].members)
        view = self._one_of({"dashboard": 5, "detail": 2, "list": 2, "export": 1})
        return self._own(view, reader) if view in USER_VIEWS else self._of_project(view, project, reader)

    def _intrusion(self) -> Read:
        view = self._one_of({"dashboard": 2, "detail": 1, "export": 1})
        if self._removed and self._rng.random() < 0.5:
            return self._of_project(view, *self._rng.choice(self._removed))
        project = self._popular(self._projects)
        strangers = self._strangers(project) or self._teams[project].members
        return self._of_project(view, project, self._rng.choice(strangers))

    def _strangers(self, project: int) -> list[int]:
        return [user for user in self._users if user not in self._known[project]]

    def _of_project(self, view: str, project: int, reader: int) -> Read:
        format_ = self._rng.choice(("json", "json", "csv")) if view == "export" else ""
        return Read(view, reader, project, {"format": format_} if format_ else {})

    def _own(self, view: str, reader: int) -> Read:
        if view == "search":
            return Read(view, reader, params={"query": self._rng.choice(WORDS)})
        if view == "list" and self._rng.random() < 0.3:
            return Read(view, reader, params={"status": self._rng.choice(("draft", "in_progress"))})
        return Read(view, reader)

    def _write(self) -> Write:
        project = self._popular(self._projects)
        team = self._teams[project]
        edit = Edit(self._one_of(EDITS))
        others = [user for user in team.members if user != team.owner]
        if edit is Edit.REMOVE_MEMBER and others:
            user = self._rng.choice(others)
            team.members.remove(user)
            self._removed.append((project, user))
        elif edit in (Edit.ADD_MEMBER, Edit.REMOVE_MEMBER) and (strangers := self._strangers(project)):
            edit, user = Edit.ADD_MEMBER, self._rng.choice(strangers)
            team.members.append(user)
            self._known[project].add(user)  # a removed member is never added again
        else:
            edit, user = edit if edit in ALONE else Edit.PREDICATE, 0
        return Write(edit, project, team.owner, team.predicate, user)

    def _popular(self, ranked: Sequence[int]) -> int:
        weights = self._weights(len(ranked))
        return self._rng.choices(ranked, cum_weights=weights)[0]

    def _one_of(self, shares: Mapping[str, int] | Mapping[Edit, int]) -> str:
        return self._rng.choices(list(shares), list(shares.values()))[0]

    def _weights(self, count: int) -> Sequence[float]:
        found = self._cumulative.get(count)
        if found is None:
            total = 0.0
            found = self._cumulative[count] = [total := total + rank**-ZIPF for rank in range(1, count + 1)]
        return found
