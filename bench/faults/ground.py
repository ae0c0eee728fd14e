"""What is known of the example application without any fault: columns, what views read, what rules name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import text

from jobs import domain
from jobs.tables import metadata
from stoker import Capture
from stoker.coverage.cover import cover, rolled_back
from stoker.coverage.invalidated import asked
from stoker.tables import SCHEMA

LINKS: Mapping[str, Mapping[str, str]] = {
    "project": {
        "projects": "id",
        "project_members": "project_id",
        "device_classifications": "project_id",
        "predicate_devices": "project_id",
        "project_documents": "project_id",
        "agent_interactions": "project_id",
    },
    "user": {
        "users": "id",
        "projects": "owner_id",
        "project_members": "user_id",
        "project_documents": "user_id",
        "agent_interactions": "user_id",
    },
}
"""By scope kind: the tables whose rows belong to a scope, and the column that has its id."""
SOME = text("SELECT id AS project_id, owner_id, owner_id AS user_id FROM projects ORDER BY id LIMIT 1")


@dataclass(frozen=True, slots=True)
class Ground:
    """The facts that say where a fault can be."""

    columns: Mapping[str, Collection[str]]
    """Of each table."""
    reads: Collection[tuple[str, str]]
    """Table and column that some view reads."""
    named: Mapping[str, Collection[tuple[str, str, bool]]]
    """By kind of event: scope kind, view, and whether hard, as its rule names them."""

    def told(self, view: str, table: str, column: str) -> bool:
        """Whether some event of a column names a view."""
        return any(
            view == one
            for capture in domain.captures
            if capture.table == table and column in self.watched(capture)
            for _, one, _ in self.named[capture.event.kind]
        )

    def watched(self, capture: Capture) -> Collection[str]:
        """The columns of a capture."""
        if capture.columns is None:
            return self.columns[capture.table]
        return {*capture.columns, *capture.fields.values()}


async def ground_of(database_url: str) -> Ground:
    """The facts, as `cover` and the rules themselves give them."""
    views = await cover(database_url, domain)
    named: dict[str, set[tuple[str, str, bool]]] = {}
    async with rolled_back(database_url, SCHEMA) as connection:
        some = (await connection.execute(SOME)).one()._asdict()
        for rule in domain.rules:
            event = rule.event.model_validate({name: some[name] for name in rule.event.model_fields})
            named[rule.event.kind] = {
                (one.scope.kind, view, one.hard)
                for one in await asked(connection, domain, rule, [event])
                for view in one.views or domain.view_names_by_scope[one.scope.kind]
            }
    columns = {name: list(table.columns.keys()) for name, table in metadata.tables.items()}
    return Ground(columns, {(read.table, read.column) for view in views for read in view.reads}, named)
