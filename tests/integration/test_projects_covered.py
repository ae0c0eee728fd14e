"""The rules of the example application cover what its views read, and nothing that changes is missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.audience import projects_of, viewers
from jobs.events import ContentsEvent, ProjectEvent, UserDeactivated
from stoker.embedded import Urls
from stoker.testing import assert_covered
from tests.support.projects_world import opened_world, settings

Row = Mapping[str, Any]

NEEDLESS = {
    # An update of a project is one event, whatever column it changes.
    "projects.name stats",
    "projects.intended_use list",
    "projects.intended_use stats",
    # Written once, when the project is created: its event stands for every view.
    "projects.created_at access",
    "projects.created_at search",
    "projects.created_at stats",
}


async def audience(session: AsyncSession, row: Row) -> Mapping[str, Any]:
    """What the writers of projects record beside the project."""
    return {"project_id": row["id"], "audience": await viewers(session, [int(row["id"])])}


async def memberships(session: AsyncSession, row: Row) -> Mapping[str, Any]:
    """What the writer that deactivates a user records beside the user."""
    return {"user_id": row["id"], "project_ids": await projects_of(session, [int(row["id"])])}


async def contents(_session: AsyncSession, row: Row) -> Mapping[str, Any]:
    """A write of contents numbers the change in the project's row: then `row` is the project."""
    return {"project_id": row.get("project_id", row["id"]), "item_id": 1}


async def test_every_column_is_covered_and_no_change_is_missed(
    database_url: str, server_urls: Urls, prefix: str
) -> None:
    async with opened_world(settings(database_url, server_urls, prefix)) as world:
        await assert_covered(
            world.stoker,
            needless=NEEDLESS,
            fields={ProjectEvent: audience, UserDeactivated: memberships, ContentsEvent: contents},
        )
