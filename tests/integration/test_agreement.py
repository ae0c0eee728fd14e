"""Processes with conflicting settings are refused before they do harm: another cache, another queue."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from stoker.domain import load_domain
from stoker.errors import WrongServer
from stoker.queue import owner
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.worker.check import CheckFailed, check, require_sound
from stoker.worker.findings import Level
from stoker.worker.process import run_worker
from tests.integration.cli import call
from tests.support.notes import Notes
from tests.support.place import Place

OTHER = "other00000"


async def errors(settings: Settings) -> list[str]:
    return [one.message for one in await check(settings) if one.level is Level.ERROR]


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(schedule={"enable_background_warming": False})


async def test_check_finds_a_cache_that_running_workers_do_not_invalidate(
    place: Place, settings: Settings
) -> None:
    async with Stoker.opened(settings, Notes().domain) as worker:
        await worker.cache_identity.note()
        assert await errors(settings) == []
        (prefix,) = await errors(place.settings(cache={"prefix": "another"}))
        assert "keys begin with another" in prefix.replace("those of this process with", "keys begin with")
        (server,) = await errors(replace(place, cache_url=place.queue_url).settings())
        assert "CACHE_REDIS_URL" in server
        # New workers may start all the same: the old ones are about to go.
        await require_sound(place.settings(cache={"prefix": "another"}), load_domain(settings.domain))
        async with worker.engine.begin() as connection:
            await connection.execute(
                text("UPDATE stoker.cache_identities SET noted_at = now() - interval '1 hour'")
            )
        assert await errors(place.settings(cache={"prefix": "another"})) == []


async def test_a_worker_refuses_the_queue_of_another_installation(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        stop = asyncio.Event()
        stop.set()
        await run_worker(stoker, settings, stop)
        assert await owner.owner(stoker.queue.connection, settings.queue) is None
        await owner.take(stoker.queue.connection, settings.queue, OTHER)
        with pytest.raises(WrongServer, match=r"a queue\.prefix of its own"):
            await run_worker(stoker, settings, asyncio.Event())
        (said,) = await errors(settings)
        assert "--take-queue" in said
        with pytest.raises(CheckFailed, match="--take-queue"):
            await require_sound(settings, load_domain(settings.domain))
        with caplog.at_level(logging.ERROR):
            async with Stoker.opened(settings, Notes().domain) as web, asyncio.timeout(30):
                while "queue.of_another_installation" not in caplog.messages:
                    await web.queue.connection.command("PING")  # it is told, and works


async def test_a_worker_makes_the_queue_its_own(settings: Settings) -> None:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        assert await owner.claimed(stoker.queue.connection, settings.queue, stoker.installation)
        assert await owner.claimed(stoker.queue.connection, settings.queue, OTHER) == stoker.installation
        assert await errors(settings) == []


def test_a_restored_database_keeps_its_queue_and_a_new_one_takes_it_when_told_to(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        done = call(tmp_path, place.environment(), *arguments, capture=capsys)
        return done.returncode, done.stdout + done.stderr

    async def belongs_to(installation: str) -> None:
        async with Stoker.opened(place.settings(), Notes().domain) as stoker:
            given = installation or stoker.installation
            await owner.take(stoker.queue.connection, stoker.queue.settings, given)

    asyncio.run(belongs_to(""))
    assert said("migrate", "--new-installation")[0] == 0
    assert said("check")[0] == 0
    asyncio.run(belongs_to(OTHER))
    assert "--take-queue" in said("migrate", "--new-installation")[1]
    assert said("check")[0] == 1
    assert said("migrate", "--take-queue")[0] == 0
    assert said("check")[0] == 0
