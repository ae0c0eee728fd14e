"""Workers as operators see them: what each reports, a quiet one, and whether there are enough slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from stoker import Refresh, Stoker
from stoker.errors import NotFound
from stoker.history.roster import Roster
from stoker.jobs import Lane
from stoker.operations import workers
from stoker.operations.audit import Actor
from stoker.operations.workers import LaneCapacity, WorkerState, capacity, suggestion, wanted
from stoker.process_name import process_name
from stoker.settings import LaneSettings, Settings, require
from stoker.telemetry.metrics import exposition
from stoker.worker.engine.meter import Load, Meter
from stoker.worker.engine.runner import Engine, EngineSettings
from stoker.worker.process import run_worker, runner
from tests.support.notes import Notes
from tests.support.place import Place

ANN = Actor("ann")
MINUTES = "INSERT INTO stoker.figure_history SELECT 60, date_trunc('minute', now()) - n * interval '1 minute'"


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(schedule={"enable_background_warming": False}, worker={"release": "app 7f3a"})


@pytest.fixture
async def stoker(settings: Settings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        yield stoker


async def the_worker(stoker: Stoker, state: WorkerState) -> workers.WorkerFigures:
    """The only worker, once it is in a state."""
    async with asyncio.timeout(60):
        while True:
            found = (await workers.listing(stoker)).workers
            if [one.state for one in found] == [state]:
                return found[0]
            await asyncio.sleep(0.02)


async def test_a_worker_reports_what_it_is_and_that_it_stopped(stoker: Stoker, settings: Settings) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(stoker, settings, stop))
    found = await the_worker(stoker, WorkerState.RUNNING)
    assert (found.name, found.release) == (process_name(), "app 7f3a")
    assert found.name.startswith(f"{found.host}:")
    assert found.lanes["changes"].slots == 4
    assert 10_000_000 < found.memory_bytes < 10_000_000_000
    assert found.silent_s < 15
    stop.set()
    await working
    assert (await the_worker(stoker, WorkerState.STOPPED)).stopped_at is not None


async def test_a_worker_shows_its_lanes_with_its_first_report(stoker: Stoker, settings: Settings) -> None:
    engine = Engine(
        require(settings.redis_url, "REDIS_URL"),
        settings.queue,
        EngineSettings(lanes={"changes": LaneSettings(concurrency=3)}),
        run=runner(stoker),
        sql=stoker.engine,
    )
    await Roster(stoker.engine, "host:1", "r", engine.load, engine.set_quiet).report()
    (found,) = (await workers.listing(stoker)).workers
    assert {name: lane.slots for name, lane in found.lanes.items()} == {"changes": 3}
    assert (found.slots, found.busy) == (3, 0)


async def test_a_quiet_worker_takes_no_jobs_until_it_is_resumed(stoker: Stoker) -> None:
    heard: list[bool] = []
    roster = Roster(stoker.engine, "host:1", "r", dict, heard.append)
    await roster.report()
    await workers.set_quiet(stoker, ANN, "host:1", quiet=True)
    await roster.report()
    assert (await workers.listing(stoker)).workers[0].state is WorkerState.QUIET
    await workers.set_quiet(stoker, ANN, "host:1", quiet=False)
    await roster.report()
    assert heard == [False, True, False]
    with pytest.raises(NotFound, match="no worker 'host:2' runs"):
        await workers.set_quiet(stoker, ANN, "host:2", quiet=True)


async def test_a_worker_that_reports_no_more_is_silent(stoker: Stoker) -> None:
    await Roster(stoker.engine, "host:1", "r", dict, lambda _: None).report()
    async with stoker.engine.begin() as connection:
        await connection.execute(text("UPDATE stoker.workers SET seen_at = now() - interval '20 s'"))
    assert (await workers.listing(stoker)).workers[0].state is WorkerState.SILENT
    assert (await capacity(stoker)).workers == 0


async def test_a_busy_lane_is_told_what_would_help(stoker: Stoker, settings: Settings) -> None:
    load = {"refresh": Load(slots=6, busy=6, busy_s=28.2, slot_s=30.0)}
    await Roster(stoker.engine, "host:1", "r", lambda: load, lambda _: None).report()
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                f"{MINUTES}, series, false, value FROM generate_series(1, 19) n, (VALUES"
                " ('lane:refresh:busy_s', 338.4), ('lane:refresh:slot_s', 360.0)) AS s (series, value)"
                " ON CONFLICT DO NOTHING"
            )
        )
    found = await capacity(stoker)
    refresh = found.lanes["refresh"]
    assert (refresh.slots, refresh.workers, refresh.busy_min, refresh.ready) == (6, 1, 20, 0)
    assert refresh.used == pytest.approx(0.94)
    assert refresh.suggestion == "raise refresh to 9, or add a worker: 94% busy for 20 min"
    assert (found.workers, found.workers_wanted) == (1, 2)
    shown = (await exposition(stoker, settings)).decode()
    assert "stoker_workers_wanted 2.0" in shown
    assert 'stoker_lane_utilisation{lane="refresh"} 0.94' in shown


async def test_a_backlog_says_how_long_it_takes(stoker: Stoker) -> None:
    await Roster(
        stoker.engine, "host:1", "r", lambda: {Lane.REFRESH: Load(6, 0, 0.0, 30.0)}, lambda _: None
    ).report()
    await stoker.queue.enqueue_many([Refresh(view="detail", scope_id=str(n)) for n in range(1, 121)])
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(f"{MINUTES}, 'lane:refresh:done', false, 60 FROM generate_series(1, 10) n")
        )
    refresh = (await capacity(stoker)).lanes["refresh"]
    assert (refresh.ready, refresh.done_per_s, refresh.drain_s) == (120, 1.0, 120.0)


def lane(**given: object) -> LaneCapacity:
    values = {"slots": 6, "workers": 1, "used": 0.5, "busy_min": 0, "ready": 0, "done_per_s": 1, "drain_s": 0}
    return LaneCapacity.model_validate({**values, "paused": False, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        ({"used": 0.9, "busy_min": 4}, None),
        ({"paused": True, "ready": 7}, "7 jobs wait while mail is paused: stoker lanes resume mail"),
        ({"workers": 0, "slots": 0, "ready": 7}, "start a worker that runs mail: 7 jobs wait"),
        ({"workers": 0, "slots": 0, "ready": 1}, "start a worker that runs mail: 1 job waits"),
        (
            {"used": 1, "busy_min": 20, "workers": 2, "slots": 12},
            "raise mail to 9, or add a worker: 100% busy",
        ),
    ],
)
def test_what_is_suggested(given: dict[str, object], said: str | None) -> None:
    found = suggestion("mail", lane(**given))
    assert found == said or (said is not None and str(found).startswith(said))


def test_how_many_workers_are_wanted() -> None:
    assert wanted(2, {"a": lane(workers=2, used=0.1)}) == 1
    assert wanted(2, {"a": lane(workers=2, used=0.7)}) == 2
    assert wanted(2, {"a": lane(workers=2, used=1.0)}) == 3
    assert wanted(2, {"a": lane(workers=2, used=0.5, ready=9, drain_s=601)}) == 3
    assert wanted(0, {"a": lane(workers=0, used=None, ready=9, drain_s=None)}) == 1


def test_a_meter_adds_up_the_time_for_which_slots_were_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("stoker.worker.engine.meter.time.monotonic", lambda: now[0])
    meter = Meter()
    for at, busy in ((101.0, 2), (103.0, 1), (104.0, 0)):
        now[0] = at
        meter.changed(busy)
    now[0] = 110.0
    assert meter.take(4) == Load(slots=4, busy=0, busy_s=5.0, slot_s=40.0)
    assert meter.take(4) == Load(slots=4, busy=0, busy_s=0.0, slot_s=0.0)
