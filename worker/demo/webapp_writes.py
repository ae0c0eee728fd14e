"""The web app's writes: each changes SQL, and Postgres records what changed in the same transaction.

The answer has the new revision and the views that show it. Nothing here touches the cache: the worker does.
With `?wait=1` the answer comes when the change is in effect for every reader (read your writes).
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Request

from jobs.cached import CachedProjectService
from jobs.inputs import (
    ClassificationChanges,
    NewClassification,
    NewDocument,
    NewInteraction,
    NewPredicate,
    NewProject,
    PredicateChanges,
    ProjectChanges,
)
from jobs.scopes import Role
from jobs.writes import Result
from stoker import Applied, Receipt, Unavailable

router = APIRouter()
Answer = dict[str, object]


@dataclass
class Writer:
    """Who writes, and whether they wait for the change to be in effect."""

    projects: CachedProjectService
    user: int
    wait: bool

    async def answer(self, write: Awaitable[Result]) -> Answer:
        """The answer to a write. `applied` is `applied`, `pending`, or null if the caller did not wait.

        A commit whose answer was lost is a 503 like any outage: the client reads before it tries again.
        """
        written, receipt = await write
        return {
            "id": written.id,
            "project_id": written.project_id,
            "revision": written.revision,
            "shown_by": sorted(written.shown_by),
            "transaction_id": receipt.transaction_id,
            "applied": await _applied(receipt) if self.wait else None,
        }


async def _applied(receipt: Receipt) -> Applied:
    try:
        return await receipt.applied()
    except Unavailable:
        return Applied.PENDING  # unknown at the moment, but the change is committed


async def writer_of(request: Request, x_user: Annotated[int, Header()], *, wait: bool = False) -> Writer:
    """The writer of a request."""
    return Writer(CachedProjectService(request.app.state.stoker), x_user, wait)


By = Annotated[Writer, Depends(writer_of)]


@router.post("/projects", status_code=201)
async def create_project(new: NewProject, by: By) -> Answer:
    """Create a project that the user owns."""
    return await by.answer(by.projects.create_project(by.user, new))


@router.patch("/projects/{project_id}")
async def update_project(project_id: int, changes: ProjectChanges, by: By) -> Answer:
    """Change the fields that are given."""
    return await by.answer(by.projects.update_project(by.user, project_id, changes))


@router.delete("/projects/{project_id}")
async def delete_project(project_id: int, by: By) -> Answer:
    """Delete a project and all it contains."""
    return await by.answer(by.projects.delete_project(by.user, project_id))


@router.put("/projects/{project_id}/owner/{user_id}")
async def transfer_owner(project_id: int, user_id: int, by: By) -> Answer:
    """Give the project to another user."""
    return await by.answer(by.projects.transfer_owner(by.user, project_id, user_id))


@router.post("/projects/{project_id}/classifications", status_code=201)
async def add_classification(project_id: int, new: NewClassification, by: By) -> Answer:
    """Classify the device."""
    return await by.answer(by.projects.add_classification(by.user, project_id, new))


@router.patch("/projects/{project_id}/classifications/{item_id}")
async def update_classification(
    project_id: int, item_id: int, changes: ClassificationChanges, by: By
) -> Answer:
    """Correct a classification."""
    return await by.answer(by.projects.update_classification(by.user, project_id, item_id, changes))


@router.delete("/projects/{project_id}/classifications/{item_id}")
async def remove_classification(project_id: int, item_id: int, by: By) -> Answer:
    """Remove a classification."""
    return await by.answer(by.projects.remove_classification(by.user, project_id, item_id))


@router.post("/projects/{project_id}/predicates", status_code=201)
async def add_predicate(project_id: int, new: NewPredicate, by: By) -> Answer:
    """Add a predicate device."""
    return await by.answer(by.projects.add_predicate(by.user, project_id, new))


@router.patch("/projects/{project_id}/predicates/{item_id}")
async def update_predicate(project_id: int, item_id: int, changes: PredicateChanges, by: By) -> Answer:
    """Correct, select or deselect a predicate device."""
    return await by.answer(by.projects.update_predicate(by.user, project_id, item_id, changes))


@router.delete("/projects/{project_id}/predicates/{item_id}")
async def remove_predicate(project_id: int, item_id: int, by: By) -> Answer:
    """Remove a predicate device."""
    return await by.answer(by.projects.remove_predicate(by.user, project_id, item_id))


@router.post("/projects/{project_id}/documents", status_code=201)
async def add_document(project_id: int, new: NewDocument, by: By) -> Answer:
    """File a document."""
    return await by.answer(by.projects.add_document(by.user, project_id, new))


@router.delete("/projects/{project_id}/documents/{item_id}")
async def remove_document(project_id: int, item_id: int, by: By) -> Answer:
    """Remove a document."""
    return await by.answer(by.projects.remove_document(by.user, project_id, item_id))


@router.post("/projects/{project_id}/interactions", status_code=201)
async def add_interaction(project_id: int, new: NewInteraction, by: By) -> Answer:
    """Note what an agent answered."""
    return await by.answer(by.projects.add_interaction(by.user, project_id, new))


@router.delete("/projects/{project_id}/interactions/{item_id}")
async def remove_interaction(project_id: int, item_id: int, by: By) -> Answer:
    """Remove an interaction."""
    return await by.answer(by.projects.remove_interaction(by.user, project_id, item_id))


@router.post("/projects/{project_id}/exports", status_code=202)
async def request_export(project_id: int, by: By, format: Literal["json", "csv"] = "json") -> Answer:  # noqa: A002 - the word in the URL
    """Ask for a file of the project; the worker writes it. `id` is the number in the file's name."""
    return await by.answer(by.projects.request_export(by.user, project_id, format))


@router.post("/projects/{project_id}/members/{user_id}/{role}", status_code=201)
async def add_member(project_id: int, user_id: int, role: Role, by: By) -> Answer:
    """Let a user read the project, or write it."""
    return await by.answer(by.projects.add_member(by.user, project_id, user_id, role))


@router.put("/projects/{project_id}/members/{user_id}/{role}")
async def change_role(project_id: int, user_id: int, role: Role, by: By) -> Answer:
    """Let a member do more, or less."""
    return await by.answer(by.projects.change_role(by.user, project_id, user_id, role))


@router.delete("/projects/{project_id}/members/{user_id}")
async def remove_member(project_id: int, user_id: int, by: By) -> Answer:
    """End a membership; when this answers, the user is refused everything of the project."""
    return await by.answer(by.projects.remove_member(by.user, project_id, user_id))
