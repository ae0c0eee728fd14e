"""A domain of entries within a parent: sheets that lie in folders, which have members.

Its loaders can be held and counted as those of tests/support/notes.py. A sheet's `page` is guarded by the
`members` of the folder that it lies in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Access, Domain, EntryKey, Event, Invalidation, Rule, ScopeKind, View, Within
from tests.support.notes import Notes

FOLDER, SHEET = ScopeKind("folder"), ScopeKind("sheet")
TABLES = (
    "CREATE TABLE IF NOT EXISTS folders (id bigint PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS folder_members (folder_id bigint NOT NULL, reader_id bigint NOT NULL,
    PRIMARY KEY (folder_id, reader_id))""",
    "CREATE TABLE IF NOT EXISTS sheets (id bigint PRIMARY KEY, folder_id bigint, body text NOT NULL)",
)
FILLED = (
    "TRUNCATE folders, folder_members, sheets",
    "INSERT INTO folders VALUES (1), (2)",
    "INSERT INTO folder_members VALUES (1, 1), (2, 2), (1, 3), (2, 3)",
    "INSERT INTO sheets VALUES (1, 1, 'first'), (2, 2, 'second'), (3, 1, 'third'), (4, NULL, 'nowhere')",
)
"""Reader 1 reads folder 1, reader 2 folder 2, reader 3 both; sheets 1 and 3 lie in folder 1."""


class SheetChanged(Event):
    """A sheet was written or moved."""

    kind: ClassVar[str] = "sheet.changed"
    sheet_id: int


class FolderClosed(Event):
    """A folder is gone, or has lost a member."""

    kind: ClassVar[str] = "folder.closed"
    folder_id: int


class Folders(Notes):
    """The domain; see Notes for how its loaders are held."""

    def __init__(self) -> None:
        super().__init__()
        self.domain = Domain(
            name="folders",
            scopes=(FOLDER, SHEET),
            views=(
                View("members", FOLDER, self._loader("members", self._members), access=Access.ANYONE),
                View(
                    "page",
                    SHEET,
                    self._loader("page", self._pages),
                    access=Access.within(FOLDER),
                    access_view="members",
                ),
            ),
            rules=(
                Rule(SheetChanged, lambda event: [Invalidation(SHEET.scope(event.sheet_id))]),
                Rule(
                    FolderClosed,
                    lambda event: [Invalidation(FOLDER.scope(event.folder_id), {"members"}, hard=True)],
                ),
            ),
        )

    async def _members(self, session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        found = await session.execute(
            text(
                "SELECT f.id, coalesce(json_object_agg(m.reader_id, 'reader')"
                " FILTER (WHERE m.reader_id IS NOT NULL), '{}') FROM folders f"
                " LEFT JOIN folder_members m ON m.folder_id = f.id WHERE f.id = ANY(:ids) GROUP BY f.id"
            ),
            {"ids": [key.scope.number for key in keys]},
        )
        roles: dict[int, Any] = dict(found.all())
        return {key: roles[key.scope.number] for key in keys if key.scope.number in roles}

    async def _pages(self, session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        found = await session.execute(
            text("SELECT id, folder_id, body FROM sheets WHERE id = ANY(:ids)"),
            {"ids": [key.scope.number for key in keys]},
        )
        pages = {row.id: Within(row.folder_id, {"body": row.body}) for row in found}
        return {key: pages[key.scope.number] for key in keys if key.scope.number in pages}
