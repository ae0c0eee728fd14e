"""What a read asks for, what it must show at least, and what it showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import from_json

from worker.demo.world import World

PROJECT_VIEWS = ("dashboard", "detail", "export")
USER_VIEWS = ("list", "search", "stats")
VIEWS = (*PROJECT_VIEWS, *USER_VIEWS)


@dataclass(frozen=True, slots=True)
class Read:
    """One request for a view by a user. `first_page`: of a list without filters."""

    view: str
    user: int
    path: str
    project: int | None = None
    first_page: bool = False

    @property
    def bypass(self) -> str:
        """The path of the same request with the cache bypassed."""
        return f"{self.path}{'&' if '?' in self.path else '?'}bypass=1"


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer shows: its revision, or that of each project in it."""

    revision: int = 0
    items: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer must show at least, noted before the request is sent.

    `newest` is the least revision of the whole; `least` that of each project if it is in the answer; `never`
    the projects that must not be in it. `flux` tells whether the reader's rights were changed meanwhile.
    """

    flux: int
    newest: int = 0
    least: Mapping[int, int] = field(default_factory=dict)
    never: frozenset[int] = frozenset()


def shown(view: str, body: bytes) -> Shown:
    """Read the revisions from a body."""
    value = from_json(body)
    if view in ("list", "search"):
        items = {item["id"]: item["revision"] for item in value["items"]}
        return Shown(max(items.values(), default=0), items)
    return Shown(value["revision"])


def expected(world: World, read: Read) -> Expected:
    """What is known now."""
    flux = world.flux[read.user]
    if read.project is not None:
        project = world.projects.get(read.project)
        return Expected(flux, project.shown_in(read.view) if project else 0)
    rows = {number: world.projects[number].row for number in world.visible[read.user]}
    newest = max(rows.values(), default=0)
    if read.view != "stats" and not (read.first_page and newest >= world.first_revision):
        # Dates of sample data do not follow its revisions, and a filter may leave anything out.
        newest = 0
    return Expected(flux, newest, rows, frozenset(world.lost[read.user]))


def staleness(want: Expected, got: Shown, *, same_rights: bool) -> str | None:
    """Why an answer is older than what was applied before its request; None for a good one."""
    if same_rights and got.revision < want.newest:
        return f"shows revision {got.revision}, but {want.newest} was applied before"
    for number, revision in got.items.items():
        if revision < want.least.get(number, 0):
            return f"shows project {number} at {revision}, but {want.least[number]} was applied before"
    return None
