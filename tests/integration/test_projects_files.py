"""The application's own jobs: exports that are requested with a change, and the weekly digests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from jobs import SCHEDULE, domain
from jobs.files import FILES, WriteDigests, WriteExport, digest
from jobs.scopes import Role
from stoker.embedded import Urls
from stoker.testing import assert_enqueued, drain, enqueued, schedule_at
from tests.support.projects_world import World, opened_world, settings
from worker.demo.webapp import app

REQUESTED = "r-"


@pytest.fixture
async def world(
    database_url: str, server_urls: Urls, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setenv("EXPORTS_DIR", str(tmp_path / "exports"))
    place = settings(database_url, server_urls, prefix)
    queue = place.queue.model_copy(update={"prefix": prefix})
    schedule = place.schedule.model_copy(update={"enable_background_warming": False})
    async with opened_world(place.model_copy(update={"queue": queue, "schedule": schedule})) as world:
        yield world


def written(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "exports").iterdir()}


async def test_an_export_is_written_once_it_is_committed(world: World, tmp_path: Path) -> None:
    app.state.stoker = world.stoker
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as web:
        path, by = f"/projects/{world.alpha}/exports", {"X-User": str(world.ben)}
        asked = [await web.post(f"{path}?format={form}", headers=by) for form in ("json", "csv")]
        refused = await web.post(path, headers={"X-User": str(world.cid)})
    assert [one.status_code for one in (*asked, refused)] == [202, 202, 403]
    as_json, as_csv = (one.json()["id"] for one in asked)
    await assert_enqueued(world.stoker, WriteExport, number=as_csv, user_id=world.ben, format="csv")
    assert [run.outcome for run in (await drain(world.stoker, [FILES])).ran] == ["done", "done"]
    files = written(tmp_path)
    assert files.keys() == {
        f"export-{as_json}-project-{world.alpha}.json",
        f"export-{as_csv}-project-{world.alpha}.csv",
    }
    exported = json.loads(files[f"export-{as_json}-project-{world.alpha}.json"])
    assert exported["project"]["name"] == "Alpha"
    assert as_json in [one["id"] for one in exported["interactions"]]
    assert files[f"export-{as_csv}-project-{world.alpha}.csv"].startswith("record,")


async def test_whoever_was_removed_meanwhile_gets_no_file(world: World, tmp_path: Path) -> None:
    await world.service.request_export(world.ben, world.alpha)
    await world.service.request_export(world.ann, world.alpha)
    await world.service.remove_member(world.ann, world.alpha, world.ben)
    assert len((await drain(world.stoker, [FILES])).of(WriteExport)) == 2
    [name] = written(tmp_path)
    assert name.startswith("export-")


async def test_a_request_that_is_rolled_back_leaves_no_job(world: World) -> None:
    job = WriteExport(number=1, project_id=world.alpha, user_id=world.ann, format="json")
    async with world.stoker.session() as session, session.begin() as transaction:
        assert world.stoker.enqueue_in(session, job).startswith(REQUESTED)
        await session.flush()
        await transaction.rollback()
    assert await enqueued(world.stoker) == []


async def test_on_monday_active_users_get_a_digest_of_what_they_see(world: World, tmp_path: Path) -> None:
    await world.service.add_member(world.ben, world.beta, world.ann, Role.VIEWER)
    await schedule_at(world.stoker, datetime(2026, 6, 1, 4, tzinfo=UTC))
    assert len((await drain(world.stoker, [FILES])).ran) == 3
    files = written(tmp_path)
    assert files.keys() == {f"digest-user-{user}.md" for user in (world.ann, world.ben)}
    assert files[f"digest-user-{world.ann}.md"].startswith("# Your projects: 2\n")
    assert "- Beta (draft), updated " in files[f"digest-user-{world.ann}.md"]


def test_digests_come_on_mondays_at_six_in_berlin_in_summer_and_in_winter() -> None:
    [cron] = [one for one in SCHEDULE if one.name == "digests"]
    for day, hour in ((datetime(2026, 7, 1, tzinfo=UTC), 4), (datetime(2026, 12, 1, tzinfo=UTC), 5)):
        slot = cron.following(day)
        assert (slot.weekday(), slot.hour, slot.minute) == (0, hour, 0)
    assert domain.handlers.keys() >= {WriteDigests, WriteExport}
    assert digest({"total": 0, "items": []}) == "# Your projects: 0\n\n"
