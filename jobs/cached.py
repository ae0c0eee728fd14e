"""Projects through the cache: the reads of `ProjectService` by the same names, its writes as they are.

A reading has the bytes of the answer, its ETag, its age and its state. While Redis is away the same calls
answer from SQL.
"""

from __future__ import annotations

from pydantic import BaseModel

from jobs.params import ExportParams, ListParams, SearchParams
from jobs.service import DEFAULT_EXPORT, DEFAULT_LIST
from jobs.views import DASHBOARD, DETAIL, EXPORT, LIST, SEARCH, STATS
from jobs.writes import Writes
from stoker import Reading


class CachedProjectService(Writes):
    """Cached reads; raises Forbidden, NotFound, BadRequest and DatabaseUnavailable.

    `bypass=True` answers from SQL and does not use the cache.
    """

    async def detail(self, reader: int, project_id: int, *, bypass: bool = False) -> Reading:
        """The project itself."""
        return await self._read(DETAIL.name, project_id, reader, bypass=bypass)

    async def dashboard(self, reader: int, project_id: int, *, bypass: bool = False) -> Reading:
        """The project with all that its page sums up."""
        return await self._read(DASHBOARD.name, project_id, reader, bypass=bypass)

    async def export(
        self, reader: int, project_id: int, params: ExportParams = DEFAULT_EXPORT, *, bypass: bool = False
    ) -> Reading:
        """All that the project contains, as JSON or as the parts of a CSV file."""
        return await self._read(EXPORT.name, project_id, reader, params, bypass=bypass)

    async def list_projects(
        self, user_id: int, params: ListParams = DEFAULT_LIST, *, bypass: bool = False
    ) -> Reading:
        """A page of the user's projects."""
        return await self._read(LIST.name, user_id, user_id, params, bypass=bypass)

    async def search(self, user_id: int, params: SearchParams, *, bypass: bool = False) -> Reading:
        """What the user finds among their projects."""
        return await self._read(SEARCH.name, user_id, user_id, params, bypass=bypass)

    async def stats(self, user_id: int, *, bypass: bool = False) -> Reading:
        """Figures over the user's projects."""
        return await self._read(STATS.name, user_id, user_id, bypass=bypass)

    async def _read(
        self, view: str, scope_id: int, reader: int, params: BaseModel | None = None, *, bypass: bool
    ) -> Reading:
        return await self._stoker.read(view, scope_id, params, reader=reader, bypass=bypass)
