"""The captures of the application cover what its views read, and nothing that changes is missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoker.embedded import Urls
from stoker.testing import assert_covered
from tests.integration.cli import call
from tests.support.projects_world import World, opened_world, settings

NEEDLESS = {
    # One event stands for all columns of a project's row that any view shows.
    "projects.name stats",
    "projects.intended_use list",
    "projects.intended_use stats",
    "projects.created_at stats",
    "projects.created_at search",
}
"""What docs/coverage.md justifies."""


@pytest.fixture
async def world(database_url: str, server_urls: Urls, prefix: str) -> AsyncIterator[World]:
    async with opened_world(settings(database_url, server_urls, prefix)) as world:
        yield world


async def test_every_column_is_covered_and_no_change_is_missed(world: World) -> None:
    await assert_covered(world.stoker, needless=NEEDLESS)


async def test_the_command_says_that_all_is_recorded(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = world.stoker.settings.database_url
    assert url is not None
    environment = {"DATABASE_URL": url.get_secret_value(), "STOKER__DOMAIN": "jobs"}
    done = await asyncio.to_thread(call, tmp_path, environment, "cover", "--json", capture=capsys)
    found = json.loads(done.stdout)
    assert (done.returncode, found["sound"]) == (0, True)
    recorded = {read["column"]: read["covered_by"] for read in found["views"][0]["reads"]}
    assert recorded["owner_id"] == ["capture owner_changed"]
