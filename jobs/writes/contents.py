"""Writes inside a project: they change its dashboard and its export, and nothing that lists show."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import ColumnElement, Table, delete, false, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.selectable import TypedReturnsRows

from jobs.files import WriteExport
from jobs.inputs import (
    Changes,
    ClassificationChanges,
    NewClassification,
    NewDocument,
    NewInteraction,
    NewPredicate,
    PredicateChanges,
)
from jobs.tables import (
    agent_interactions,
    device_classifications,
    predicate_devices,
    project_documents,
)
from jobs.writes.writer import BY_CONTENTS, Result, Writer, Written, next_revision
from stoker import BadRequest, NotFound

LARGEST_ID = 2**63 - 1


class ContentWrites(Writer):
    """Classifications, predicates, documents and interactions; owner and editors may write them."""

    async def add_classification(self, actor: int, project_id: int, new: NewClassification) -> Result:
        """Classify the device; the newest classification is current."""
        return await self._add(device_classifications, actor, project_id, new.model_dump())

    async def update_classification(
        self, actor: int, project_id: int, classification_id: int, changes: ClassificationChanges
    ) -> Result:
        """Correct a classification."""
        return await self._update(device_classifications, actor, project_id, classification_id, changes)

    async def remove_classification(self, actor: int, project_id: int, classification_id: int) -> Result:
        """Remove a classification; the one before it is current again."""
        return await self._remove(device_classifications, actor, project_id, classification_id)

    async def add_predicate(self, actor: int, project_id: int, new: NewPredicate) -> Result:
        """Add a predicate device; raises BadRequest for a K-number that the project has already."""
        return await self._add(predicate_devices, actor, project_id, new.model_dump())

    async def update_predicate(
        self, actor: int, project_id: int, predicate_id: int, changes: PredicateChanges
    ) -> Result:
        """Correct a predicate device."""
        return await self._update(predicate_devices, actor, project_id, predicate_id, changes)

    async def select_predicate(
        self, actor: int, project_id: int, predicate_id: int, *, selected: bool = True
    ) -> Result:
        """Choose a predicate device for the comparison, or not any more."""
        changes = PredicateChanges(selected=selected)
        return await self.update_predicate(actor, project_id, predicate_id, changes)

    async def remove_predicate(self, actor: int, project_id: int, predicate_id: int) -> Result:
        """Remove a predicate device."""
        return await self._remove(predicate_devices, actor, project_id, predicate_id)

    async def add_document(self, actor: int, project_id: int, new: NewDocument) -> Result:
        """File a document."""
        return await self._add(project_documents, actor, project_id, {**new.model_dump(), "user_id": actor})

    async def remove_document(self, actor: int, project_id: int, document_id: int) -> Result:
        """Remove a document."""
        return await self._remove(project_documents, actor, project_id, document_id)

    async def add_interaction(self, actor: int, project_id: int, new: NewInteraction) -> Result:
        """Note what an agent answered."""
        return await self._add(agent_interactions, actor, project_id, {**new.model_dump(), "user_id": actor})

    async def remove_interaction(self, actor: int, project_id: int, interaction_id: int) -> Result:
        """Remove an interaction."""
        return await self._remove(agent_interactions, actor, project_id, interaction_id)

    async def request_export(
        self,
        actor: int,
        project_id: int,
        format: Literal["json", "csv"] = "json",  # noqa: A002 - as in the URL
    ) -> Result:
        """Ask for a file of the whole project: the interaction that says so and the job are one commit."""
        note = {"project_id": project_id, "user_id": actor, "agent": "export", "summary": f"As {format}"}
        async with self._changing(actor, project_id) as session:
            added = insert(agent_interactions).values(note).returning(agent_interactions.c.id)
            number = (await session.execute(added)).scalar_one()
            revision = await next_revision(session, project_id, "contents_revision")
            receipt = self._stoker.applied(session)
            job = WriteExport(number=number, project_id=project_id, user_id=actor, format=format)
            self._stoker.enqueue_in(session, job)
        return Written(number, project_id, revision, BY_CONTENTS), receipt

    async def _add(self, table: Table, actor: int, project_id: int, values: dict[str, Any]) -> Result:
        statement = insert(table).values(project_id=project_id, **values).on_conflict_do_nothing()
        taken = BadRequest(f"project {project_id} has {values.get('k_number')} already", field="k_number")
        return await self._write(actor, project_id, statement.returning(table.c.id), taken)

    async def _update(
        self, table: Table, actor: int, project_id: int, item_id: int, changes: Changes
    ) -> Result:
        values = changes.model_dump(exclude_none=True)
        statement = update(table).where(*_item(table, project_id, item_id)).values(values)
        missing = NotFound(f"project {project_id} has no {table.name} {item_id}")
        return await self._write(actor, project_id, statement.returning(table.c.id), missing)

    async def _remove(self, table: Table, actor: int, project_id: int, item_id: int) -> Result:
        statement = delete(table).where(*_item(table, project_id, item_id))
        missing = NotFound(f"project {project_id} has no {table.name} {item_id}")
        return await self._write(actor, project_id, statement.returning(table.c.id), missing)

    async def _write(
        self,
        actor: int,
        project_id: int,
        statement: TypedReturnsRows[int],
        otherwise: BadRequest | NotFound,
    ) -> Result:
        """Run a statement that returns the id of the row it wrote; raises `otherwise` if it wrote none."""
        async with self._changing(actor, project_id) as session:
            item_id = await session.scalar(statement)
            if item_id is None:
                raise otherwise
            revision = await next_revision(session, project_id, "contents_revision")
            receipt = self._stoker.applied(session)
        return Written(item_id, project_id, revision, BY_CONTENTS), receipt


def _item(table: Table, project_id: int, item_id: int) -> tuple[ColumnElement[bool], ...]:
    # An id beyond bigint cannot be sent to Postgres; no row has it.
    in_range = table.c.id == item_id if 0 <= item_id <= LARGEST_ID else false()
    return table.c.project_id == project_id, in_range
