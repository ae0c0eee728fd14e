"""Projects on SQL alone: every read asks SQL for permission, then for the value.

The cached service is compared with it, and it also works without any Redis.
"""

from __future__ import annotations

from jobs.params import ExportParams, ListParams, SearchParams
from jobs.permission import require_role
from jobs.queries import dashboards, details, exports, lists, searches, stats
from jobs.queries.export import as_csv
from jobs.queries.statement import Value
from jobs.scopes import READERS, USER
from jobs.views import ById
from jobs.writes import Writes
from stoker import NotFound

DEFAULT_LIST = ListParams()
DEFAULT_EXPORT = ExportParams()


class ProjectService(Writes):
    """Reads of projects by their members, of lists by their user; raises Forbidden and NotFound."""

    async def detail(self, reader: int, project_id: int) -> Value:
        """The project itself."""
        return await self._of_project(details, reader, project_id)

    async def dashboard(self, reader: int, project_id: int) -> Value:
        """The project with all that its page sums up."""
        return await self._of_project(dashboards, reader, project_id)

    async def export(self, reader: int, project_id: int, params: ExportParams = DEFAULT_EXPORT) -> Value:
        """All that the project contains, as JSON or as the parts of a CSV file."""
        value = await self._of_project(exports, reader, project_id)
        return as_csv(value) if params.format == "csv" else value

    async def list_projects(self, user_id: int, params: ListParams = DEFAULT_LIST) -> Value:
        """A page of the user's projects."""
        async with self._stoker.session() as session:
            [page] = await lists(session, [(_user(user_id), params)])
        return _expect(page, user_id)

    async def search(self, user_id: int, params: SearchParams) -> Value:
        """What the user finds among their projects."""
        async with self._stoker.session() as session:
            [found] = await searches(session, [(_user(user_id), params)])
        return _expect(found, user_id)

    async def stats(self, user_id: int) -> Value:
        """Figures over the user's projects."""
        async with self._stoker.session() as session:
            found = await stats(session, [_user(user_id)])
        return _expect(found.get(user_id), user_id)

    async def _of_project(self, query: ById, reader: int, project_id: int) -> Value:
        async with self._stoker.session() as session:
            await require_role(session, reader, project_id, READERS)
            found = await query(session, [project_id])
        if project_id not in found:  # deleted between the two statements
            raise NotFound(f"no project {project_id}")
        return found[project_id]


def _user(user_id: int) -> int:
    return USER.scope(user_id).number


def _expect(value: Value | None, user_id: int) -> Value:
    if value is None:
        raise NotFound(f"no active user {user_id}")
    return value
