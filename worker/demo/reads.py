"""What an answer must show at least, and what it showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import from_json

from stoker.chaos import Read
from worker.demo.world import World

PROJECT_VIEWS = ("dashboard", "detail", "export")
USER_VIEWS = ("list", "search", "stats")
VIEWS = (*PROJECT_VIEWS, *USER_VIEWS)


def project_of(read: Read) -> int | None:
    """The project that a read shows; None for what a user sees of several."""
    return int(read.scope_id) if read.view in PROJECT_VIEWS else None


def is_first_page(read: Read) -> bool:
    """Whether it is of a list without filters."""
    return read.view == "list" and read.params.keys() <= {"limit"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer shows: its revision, or that of each project in it."""

    revision: int = 0
    items: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer must show at least, recorded before the request is sent.

    `newest` is the least revision of the whole; `least` that of each project if it is in the answer; `never`
    the projects that must not be in it. `rights` tells whether the reader's rights were changed meanwhile.
    """

    rights: int
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
    rights, number = world.rights[read.reader], project_of(read)
    if number is not None:
        project = world.projects.get(number)
        return Expected(rights, project.shown_in(read.view) if project else 0)
    rows = {number: world.projects[number].row for number in world.visible[read.reader]}
    newest = max(rows.values(), default=0)
    if read.view != "stats" and not (is_first_page(read) and newest >= world.first_revision):
        # Dates of sample data do not follow its revisions, and a filter may leave out any project.
        newest = 0
    return Expected(rights, newest, rows, frozenset(world.lost[read.reader]))


def staleness(want: Expected, got: Shown, *, same_rights: bool) -> str | None:
    """Why an answer is older than what was applied before its request; None for a good one."""
    if same_rights and got.revision < want.newest:
        return f"shows revision {got.revision}, but {want.newest} was applied before"
    for number, revision in got.items.items():
        if revision < want.least.get(number, 0):
            return f"shows project {number} at {revision}, but {want.least[number]} was applied before"
    return None
