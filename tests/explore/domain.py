"""The explorer's domain: notes with members, small enough to know every view's value at every version.

`page` is public, `detail` is guarded by `access`, `sheet` by the `readers` of the folder that the note lies
in, and `mine` lists what a reader may see. Loaders and rules read the explorer's rows in SQL's place; what
they say is what `value` says, which the promises are checked by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, cast

from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Access, Domain, EntryKey, Event, Invalidation, Rule, Scope, ScopeKind, View, Within


@dataclass(frozen=True)
class State:
    """All rows at one version. `lies_in`: each note's folder; `folders`: who may read what lies in each."""

    notes: Mapping[int, str]
    members: Mapping[int, frozenset[int]]
    lies_in: Mapping[int, int] = field(default_factory=lambda: {1: 1, 2: 2})
    folders: Mapping[int, frozenset[int]] = field(
        default_factory=lambda: {1: frozenset({1, 2}), 2: frozenset({1})}
    )

    def __str__(self) -> str:
        return ", ".join(
            f"note {note} {body!r} of {sorted(self.members.get(note, ()))}"
            for note, body in self.notes.items()
        )

    def write(self, note: int, body: str) -> State:
        """A note's body changed."""
        return replace(self, notes={**self.notes, note: body})

    def delete(self, note: int) -> State:
        """A note is gone."""
        return replace(self, notes={key: body for key, body in self.notes.items() if key != note})

    def let(self, note: int, *readers: int) -> State:
        """A note's members are these."""
        return replace(self, members={**self.members, note: frozenset(readers)})

    def move(self, note: int, folder: int) -> State:
        """A note lies in another folder."""
        return replace(self, lies_in={**self.lies_in, note: folder})

    def open_to(self, folder: int, *readers: int) -> State:
        """These may read what lies in a folder."""
        return replace(self, folders={**self.folders, folder: frozenset(readers)})

    def remove(self, folder: int) -> State:
        """A folder is gone; its notes are still there."""
        return replace(self, folders={key: let for key, let in self.folders.items() if key != folder})


FIRST = State({1: "a1", 2: "b1"}, {1: frozenset({1, 2}), 2: frozenset({1})})


class Changed(Event):
    """A note changed; `readers` as the writer saw them. Soft."""

    kind: ClassVar[str] = "changed"
    note: int
    readers: tuple[int, ...] = ()


class Redacted(Event):
    """A note changed, or went, in a way that must not show any more. Hard."""

    kind: ClassVar[str] = "redacted"
    note: int
    readers: tuple[int, ...] = ()


class MembersChanged(Event):
    """A reader joined a note or lost it. Hard."""

    kind: ClassVar[str] = "members_changed"
    note: int
    reader: int


class FolderChanged(Event):
    """A reader lost the right to a folder, or the folder is gone. Hard."""

    kind: ClassVar[str] = "folder_changed"
    folder: int


def folder(folder_id: int) -> Scope:
    """The scope of a folder."""
    return Scope("folder", str(folder_id))


def note(note_id: int) -> Scope:
    """The scope of a note."""
    return Scope("note", str(note_id))


def reader(reader_id: int) -> Scope:
    """The scope of a reader."""
    return Scope("reader", str(reader_id))


def value(state: State, key: EntryKey) -> Any:  # noqa: ANN401 - each view has a shape of its own
    """What a view says of these rows; None for what does not exist."""
    number = key.scope.number
    if key.view == "mine":
        return [body for one, body in sorted(state.notes.items()) if number in state.members.get(one, ())]
    if key.view == "readers":
        let = state.folders.get(number)
        return None if let is None else {str(one): "reader" for one in sorted(let)}
    if number not in state.notes:
        return None
    if key.view == "sheet":
        return {"body": state.notes[number], "in": state.lies_in[number]}
    if key.view == "access":
        return {str(one): "reader" for one in sorted(state.members.get(number, ()))}
    return {"body": state.notes[number]}


def rows_of(key: EntryKey) -> dict[str, str]:
    """What reading a view touches."""
    number = key.scope.number
    if key.view == "mine":
        return {"notes:1": "r", "notes:2": "r", "members:1": "r", "members:2": "r"}
    if key.view == "readers":
        return {f"folders:{number}": "r"}
    if key.view == "access":
        return {f"notes:{number}": "r", f"members:{number}": "r"}
    return {f"notes:{number}": "r"}


class Session(Protocol):
    """Takes the place of a session."""

    async def snapshot(self, keys: Sequence[EntryKey]) -> State:
        """The rows as this transaction sees them."""

    async def members(self, notes: Sequence[int]) -> set[int]:
        """Readers of notes, now."""


async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    """Every view's loader."""
    state = await cast("Session", session).snapshot(keys)
    return {key: found for key in keys if (found := value(state, key)) is not None}


async def load_sheets(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    """The same, with the folder that each lies in."""
    return {key: Within(found["in"], found) for key, found in (await load(session, keys)).items()}


async def audience(session: AsyncSession, events: Sequence[Changed]) -> list[Invalidation]:
    """Whoever may see changed notes when the change is applied (RACES 32)."""
    readers = await cast("Session", session).members([event.note for event in events])
    return [Invalidation(reader(one), frozenset({"mine"})) for one in sorted(readers)]


def changes(event: Changed) -> list[Invalidation]:
    """A note's views, and the lists of the readers that the writer saw."""
    return [
        Invalidation(note(event.note), frozenset({"page", "detail", "sheet"})),
        *(Invalidation(reader(one), frozenset({"mine"})) for one in event.readers),
    ]


def redacts(event: Redacted) -> list[Invalidation]:
    """The same, hard, and who may see it."""
    return [
        Invalidation(note(event.note), hard=True),
        *(Invalidation(reader(one), hard=True) for one in event.readers),
    ]


def membership(event: MembersChanged) -> list[Invalidation]:
    """Who may see the note; all of that reader's."""
    return [
        Invalidation(note(event.note), frozenset({"access"}), hard=True),
        Invalidation(reader(event.reader), hard=True),
    ]


def opening(event: FolderChanged) -> list[Invalidation]:
    """Who may read what lies in the folder."""
    return [Invalidation(folder(event.folder), frozenset({"readers"}), hard=True)]


DOMAIN = Domain(
    name="explored",
    scopes=(ScopeKind("note"), ScopeKind("reader"), ScopeKind("folder")),
    views=(
        View("page", "note", load, access=Access.ANYONE),
        View("detail", "note", load),
        View("access", "note", load, access=Access.ANYONE),
        View("mine", "reader", load, access=Access.ANYONE),
        View("readers", "folder", load, access=Access.ANYONE),
        View("sheet", "note", load_sheets, access=Access.within("folder"), access_view="readers"),
    ),
    rules=(
        Rule(Changed, changes, audience=audience),
        Rule(Redacted, redacts),
        Rule(MembersChanged, membership),
        Rule(FolderChanged, opening),
    ),
)
HARD = (Redacted, MembersChanged, FolderChanged)
