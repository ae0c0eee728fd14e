"""A process that starts while Postgres is silent gives up after `connect_timeout_s`, not after a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url

from stoker import DatabaseUnavailable, Settings, Stoker
from stoker.chaos.link import through
from stoker.worker.agreement import another_queue
from stoker.worker.check import check, require_sound
from tests.support.notes import Notes
from tests.support.place import Place
from tests.support.traps import TrappedLink, link_to_postgres

CONNECT_S = 0.3
DRIVERS_OWN_S = 60
"""asyncpg's limit for a connection, where nobody sets one."""


@pytest.fixture
async def link(place: Place) -> AsyncIterator[TrappedLink]:
    link = await link_to_postgres(make_url(place.database_url))
    yield link
    await link.close()


@pytest.fixture
def settings(place: Place, link: TrappedLink) -> Settings:
    led = through(link, make_url(place.database_url)).render_as_string(hide_password=False)
    return Place(led, place.queue_url, place.cache_url, place.prefix).settings(
        database={"connect_timeout_s": CONNECT_S}
    )


async def test_a_worker_or_web_app_that_starts_gives_up(settings: Settings, link: TrappedLink) -> None:
    link.freeze()
    domain = Notes().domain
    async with asyncio.timeout(DRIVERS_OWN_S / 2):
        for start in (
            lambda: require_sound(settings, domain),
            lambda: another_queue(settings),
            lambda: Stoker.open(settings, domain),
        ):
            with pytest.raises(DatabaseUnavailable):
                await start()
        found = await check(settings, domain)
    assert [finding.outage for finding in found if "Postgres" in finding.message] == [True]


async def test_a_server_that_falls_silent_after_its_greeting_is_given_up_as_well(
    settings: Settings, link: TrappedLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.migrate.QUESTION_S", CONNECT_S)
    held = link.hold_reply(b"alembic_version")
    async with asyncio.timeout(DRIVERS_OWN_S / 2):
        with pytest.raises(DatabaseUnavailable):
            await require_sound(settings, Notes().domain)
    assert held.reached.is_set()
    held.release()
