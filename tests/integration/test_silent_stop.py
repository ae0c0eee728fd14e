"""A worker that is told to stop while Postgres says nothing stops, with connections that never answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url

from stoker import Settings, Stoker
from stoker.chaos.link import through
from stoker.worker.process import run_worker
from tests.support.notes import Notes
from tests.support.place import Place
from tests.support.traps import TrappedLink, link_to_postgres

STOP_S = 2.0
"""What running jobs are given."""
STOPS_WITHIN_S = 15
"""Far below the limit of a statement. It opens, works and closes in this time, too."""


@pytest.fixture
async def link(place: Place) -> AsyncIterator[TrappedLink]:
    link = await link_to_postgres(make_url(place.database_url))
    yield link
    await link.close()


@pytest.mark.parametrize("how", ["freeze", "silence"])
async def test_a_worker_stops_though_postgres_is_silent(place: Place, link: TrappedLink, how: str) -> None:
    led = through(link, make_url(place.database_url)).render_as_string(hide_password=False)
    settings: Settings = Place(led, place.queue_url, place.cache_url, place.prefix).settings(
        worker={"stop_deadline_s": STOP_S, "metrics_port": 0},
        database={"deadline_s": 1, "command_timeout_s": 3600},
    )
    stop, swept = asyncio.Event(), link.count(b"cache_events")
    async with asyncio.timeout(STOPS_WITHIN_S):
        async with Stoker.opened(settings, Notes().domain) as stoker:
            working = asyncio.create_task(run_worker(stoker, settings, stop))
            await swept.reach(2)
            getattr(link, how)()
            stop.set()
            await working
