"""Whoever lives samples: an outage of the worker or of a server is in the history afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from stoker.embedded import Embedded
from stoker.errors import DatabaseUnavailable
from stoker.history.charts import Length, charts
from stoker.history.figures import FigureHistory
from stoker.history.marks import marks
from stoker.history.sampler import Sampler
from stoker.history.sampling import keep_sampling
from stoker.operations import lanes
from stoker.operations.audit import Actor
from stoker.outbox.record import InvalidationRequested
from stoker.rules import Invalidation
from stoker.stoker import Stoker
from tests.integration.test_history import kept
from tests.support.notes import Notes, note
from tests.support.place import Place

NOW = timedelta(0)


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    settings = place.settings(
        database={"connect_timeout_s": 1, "deadline_s": 1}, queue={"timeout_s": 0.5}, cache={"timeout_s": 0.5}
    )
    async with Stoker.opened(settings, Notes().domain) as opened:
        yield opened


def sampler_of(stoker: Stoker) -> Sampler:
    return Sampler(stoker, FigureHistory(stoker.engine), NOW)


async def test_without_a_worker_a_process_that_serves_the_api_samples_what_waits(stoker: Stoker) -> None:
    sampling = asyncio.create_task(keep_sampling(stoker, timedelta(milliseconds=50)))
    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([Invalidation(note(7))]))
    async with asyncio.timeout(30):
        while not (await kept(stoker)).get("changes::unsettled"):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)
    sampling.cancel()
    await asyncio.wait([sampling])


async def test_minutes_without_postgres_are_noted_by_whoever_lived_through_them(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = FigureHistory(stoker.engine)
    sampler = Sampler(stoker, history, NOW)
    began = datetime.now(UTC) - timedelta(minutes=4)
    with monkeypatch.context() as broken:

        def away(*_: object) -> None:
            raise DatabaseUnavailable("away")

        broken.setattr(history, "sampling", away)
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                await sampler.sample()
    sampler._failed_at[0] = began  # as if it had lasted
    await sampler.sample()
    await sampler.sample()
    found = await charts(stoker.engine, Length.HOUR, datetime.now(UTC) + timedelta(minutes=1))
    assert {gap.why for gap in found.gaps} == {"Postgres did not answer"}
    assert sum(gap.ended - gap.begun for gap in found.gaps) in (300, 360)  # minutes that it touched


@pytest.mark.parametrize("server", ["queue", "cache"])
async def test_a_redis_that_is_away_is_noted_and_its_restart_is_a_mark(
    stoker: Stoker, servers: Embedded, server: str
) -> None:
    sampler = sampler_of(stoker)
    began = datetime.now(UTC) - timedelta(minutes=1)
    await sampler.sample()
    async with stoker.engine.begin() as connection:  # as if they had run for longer than this test
        aged = "UPDATE stoker.figure_marks SET value = value - 60 WHERE series = :series"
        await connection.execute(text(aged), {"series": f"server:{server}:started"})
    assert f"server:{server}:down" not in await kept(stoker)
    getattr(servers, server).kill()
    try:
        await sampler.sample()
        assert (await kept(stoker))[f"server:{server}:down"] == 1
    finally:
        getattr(servers, server).start()
    await sampler.sample()
    await sampler.sample()
    says = [mark.says for mark in await marks(stoker.engine, began)]
    assert says == [f"the {server} Redis was restarted"], "once, and no other"


async def test_pauses_and_workers_are_marks(stoker: Stoker) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    await lanes.pause(stoker, Actor("oscar", None), stoker.domain.lane("warm"))
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO stoker.workers"
                " (name, release, started_at, seen_at, stopped_at, lanes, memory_bytes)"
                " VALUES ('a:1', 'r2', now(), now(), NULL, '{}', 1),"
                " ('b:2', 'r1', now() - interval '1 day', now() - interval '30 seconds', NULL, '{}', 1),"
                " ('c:3', 'r1', now() - interval '1 day', now(), now(), '{}', 1)"
            )
        )
    assert {mark.says for mark in await marks(stoker.engine, began)} == {
        "oscar: lane.pause warm",
        "worker a:1 started, release r2",
        "worker b:2 fell silent",
        "worker c:3 stopped",
    }
