"""A domain of the races' own: notes with members, and loaders that a test can hold at a named point.

Declared with the public names only. A note's `detail` and `summary` are guarded by `access`; a reader's
`mine` lists the notes that the reader may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Access, Domain, EntryKey, Event, Invalidation, Rule, Scope, ScopeKind, View, WarmPlan
from tests.support.traps import Held

SCHEMA = (
    "CREATE TABLE notes (id bigint PRIMARY KEY, body text NOT NULL)",
    """CREATE TABLE note_members (note_id bigint NOT NULL REFERENCES notes ON DELETE CASCADE,
    reader_id bigint NOT NULL, PRIMARY KEY (note_id, reader_id))""",
)

EVERY_SCOPE_CHANGED = """
INSERT INTO stoker.cache_events (kind, payload, scopes)
VALUES ('note.changed', 'null', '[["*", "", [], 1, 1]]')
"""
"""Records a change that names no scope, as a trigger does that cannot say which rows are affected."""


class NoteChanged(Event):
    """A note's body changed; `readers` as the writer saw them."""

    kind: ClassVar[str] = "note.changed"
    note_id: int
    readers: tuple[int, ...] = ()


class NoteDeleted(Event):
    """A note is gone, or is not to be seen any more."""

    kind: ClassVar[str] = "note.deleted"
    note_id: int
    readers: tuple[int, ...] = ()


class MemberRemoved(Event):
    """A reader lost a note."""

    kind: ClassVar[str] = "note.member_removed"
    note_id: int
    reader_id: int


class Poison(Event):
    """An event whose rule fails when it is applied."""

    kind: ClassVar[str] = "note.poison"
    note_id: int


def note(note_id: int) -> Scope:
    """The scope of a note."""
    return Scope("note", str(note_id))


def reader(reader_id: int) -> Scope:
    """The scope of a reader."""
    return Scope("reader", str(reader_id))


async def write_notes(session: AsyncSession, count: int, *, reader_id: int = 7) -> None:
    """Tables, and notes from 1 on that say v1 and have one reader."""
    for statement in SCHEMA:
        await session.execute(text(statement))
    await session.execute(text(f"INSERT INTO notes SELECT n, 'v1' FROM generate_series(1, {count}) n"))  # noqa: S608 - a number
    members = f"INSERT INTO note_members SELECT n, {reader_id} FROM generate_series(1, {count}) n"  # noqa: S608 - the same
    await session.execute(text(members))


class Notes:
    """The domain, with counters and holds: `before[view]` before the SQL, `after[view]` after it."""

    def __init__(self) -> None:
        self.loads: dict[str, int] = {}
        self.before: dict[str, Held] = {}
        self.after: dict[str, Held] = {}
        self.failing: dict[str, Exception] = {}
        self.rule_error: Exception | None = RuntimeError("poison")
        self.domain = Domain(
            name="notes",
            scopes=(ScopeKind("note"), ScopeKind("reader")),
            views=(
                View("detail", "note", self._loader("detail", self._details)),
                View("summary", "note", self._loader("summary", self._summaries)),
                View("access", "note", self._loader("access", self._access), access=Access.ANYONE),
                View("mine", "reader", self._loader("mine", self._mine), access=Access.OWNER),
            ),
            rules=(
                Rule(NoteChanged, self._changed, audience=self._changed_audience),
                Rule(
                    NoteDeleted,
                    lambda event: [
                        Invalidation(note(event.note_id), hard=True),
                        *(Invalidation(reader(one), hard=True) for one in event.readers),
                    ],
                ),
                Rule(
                    MemberRemoved,
                    lambda event: [
                        Invalidation(note(event.note_id), frozenset({"access"}), hard=True),
                        Invalidation(reader(event.reader_id), hard=True),
                    ],
                ),
                Rule(Poison, lambda event: [Invalidation(note(event.note_id))], audience=self._poisoned),
            ),
            warm_plans=(WarmPlan("active", self._all_notes), WarmPlan("note", self._one_note)),
        )

    def hold_before(self, view: str) -> Held:
        """Hold loads of a view before they read SQL (their transaction is not open yet)."""
        return self.before.setdefault(view, Held())

    def hold_after(self, view: str) -> Held:
        """Hold loads of a view after they read SQL, before anything is stored."""
        return self.after.setdefault(view, Held())

    def _loader(self, name: str, query: Any) -> Any:  # noqa: ANN401 - a loader
        async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
            self.loads[name] = self.loads.get(name, 0) + 1
            if name in self.before:
                await self.before[name].pass_by()
            if name in self.failing:
                raise self.failing[name]
            values: Mapping[EntryKey, Any] = await query(session, keys)
            if name in self.after:
                await self.after[name].pass_by()
            return values

        return load

    async def _details(self, session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        found = await session.execute(
            text("SELECT id, body FROM notes WHERE id = ANY(:ids)"),
            {"ids": [key.scope.number for key in keys]},
        )
        bodies: dict[int, Any] = dict(found.all())
        return {key: {"body": bodies[key.scope.number]} for key in keys if key.scope.number in bodies}

    async def _summaries(self, session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        details = await self._details(session, keys)
        return {key: {"length": len(value["body"])} for key, value in details.items()}

    async def _access(self, session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        found = await session.execute(
            text(
                "SELECT n.id, coalesce(json_object_agg(m.reader_id, 'reader')"
                " FILTER (WHERE m.reader_id IS NOT NULL), '{}') FROM notes n"
                " LEFT JOIN note_members m ON m.note_id = n.id WHERE n.id = ANY(:ids) GROUP BY n.id"
            ),
            {"ids": [key.scope.number for key in keys]},
        )
        roles: dict[int, Any] = dict(found.all())
        return {key: roles[key.scope.number] for key in keys if key.scope.number in roles}

    async def _mine(self, session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        found = await session.execute(
            text(
                "SELECT m.reader_id, array_agg(n.body ORDER BY n.id) FROM note_members m"
                " JOIN notes n ON n.id = m.note_id WHERE m.reader_id = ANY(:ids) GROUP BY m.reader_id"
            ),
            {"ids": [key.scope.number for key in keys]},
        )
        bodies: dict[int, Any] = dict(found.all())
        return {key: bodies.get(key.scope.number, []) for key in keys}

    def _changed(self, event: NoteChanged) -> list[Invalidation]:
        return [Invalidation(note(event.note_id)), *(Invalidation(reader(one)) for one in event.readers)]

    async def _changed_audience(
        self, session: AsyncSession, events: Sequence[NoteChanged]
    ) -> list[Invalidation]:
        found = await session.execute(
            text("SELECT DISTINCT reader_id FROM note_members WHERE note_id = ANY(:ids)"),
            {"ids": [event.note_id for event in events]},
        )
        return [Invalidation(reader(reader_id)) for reader_id in found.scalars()]

    async def _poisoned(self, session: AsyncSession, events: Sequence[Poison]) -> list[Invalidation]:
        if self.rule_error is not None:
            raise self.rule_error
        return []

    async def _all_notes(self, session: AsyncSession, scope: Scope | None) -> list[EntryKey]:
        found = await session.execute(text("SELECT id FROM notes ORDER BY id"))
        return [EntryKey("detail", note(note_id)) for note_id in found.scalars()]

    async def _one_note(self, session: AsyncSession, scope: Scope | None) -> list[EntryKey]:
        assert scope is not None
        return [EntryKey("detail", scope), EntryKey("summary", scope)]
