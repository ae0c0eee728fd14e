"""The worker predicts: it learns from readers, warms within its budget where that is better, and survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from stoker import SYSTEM, Domain, KeepWarm, Stoker, Warm
from stoker.handlers.context import JobContext
from stoker.handlers.relay import apply_all
from stoker.handlers.run import run
from stoker.jobs import Lane, Outcome
from stoker.operations.prediction import Mode, prediction
from stoker.prediction.contest import COUNTS, DEFAULT, NONE, PREDICTOR, Hour
from stoker.prediction.live import Live
from stoker.prediction.snapshot import dump
from stoker.queue.progress import Progress
from stoker.schedule import MAINTENANCE
from stoker.settings import Settings
from stoker.warming.entries import Entries, name_of
from stoker.warming.forecast import Forecast, fresh
from stoker.warming.rows import VALID_S, Rows, in_force, state_of, stored
from stoker.worker.forecaster import STEP, Forecaster
from stoker.worker.schedule.tasks import tasks
from tests.support.notes import NoteChanged, Notes, note, write_notes
from tests.support.place import Place

NOTES = 12
READ = (1, 2, 3)
"""Notes that are read again and again; the others never."""
BUSY_H = 30
BETTER = {NONE: 100, DEFAULT: 80, COUNTS: 70, PREDICTOR: 20}
"""Misses with which the predictor takes over."""


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(cache={"stats_flush_s": 3600})


@pytest.fixture
async def stoker(settings: Settings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as opened:
        async with opened.session() as session, session.begin():
            await write_notes(session, NOTES)
        yield opened


async def flush(stoker: Stoker) -> float:
    """The time of the cache, after the visits so far were sent to it."""
    store = stoker.cache.store
    await stoker.accounting.flush(store.client, store.keys)
    return (await store.client.server()).now_us() / 1e6


def detail(stoker: Stoker, number: int) -> str:
    return name_of(stoker.domain.view("detail").key(note(number)))


async def learnt(stoker: Stoker, misses: dict[str, int] | None = None) -> Live:
    """What a worker knows after hours in which three notes were read every ten minutes.

    `misses`: of the contenders in the last day.
    """
    live = fresh(stoker, Entries(stoker))
    now = await flush(stoker)
    every = [detail(stoker, number) for number in range(1, NOTES + 1)]
    for step in range(BUSY_H * 6):
        at = now - (BUSY_H * 6 - step) * 600
        live.plan(at, 600, every, lambda _: 0.02)
        for number in READ:
            live.read(at + 300 + number, f"reader-{number}", detail(stoker, number))
    for name, one in live.contest.contenders.items():
        one.hours = {int(now // 3600): Hour(n := (misses or BETTER)[name], n * 0.02)}
    return live


async def keep(stoker: Stoker, live: Live) -> None:
    rows = Rows(stoker.engine, "before")
    await rows.hold()
    await rows.save(dump(live))
    await rows.leave()


async def states(stoker: Stoker) -> dict[int, str]:
    """How each note would be read now; the reads count for nobody."""
    return {
        number: (await stoker.read("detail", number, reader=SYSTEM)).state for number in range(1, NOTES + 1)
    }


async def test_the_predictor_warms_what_will_be_read_and_knows_what_was_used(stoker: Stoker) -> None:
    await keep(stoker, await learnt(stoker))
    forecaster = Forecaster(stoker, "one")
    await forecaster.once()
    assert await in_force(stoker.engine) == PREDICTOR
    assert (await stoker.read("detail", 1, reader=7)).state == "hit", "and its access entry is there, too"
    found = (await stored(stoker.engine)).figures
    assert found is not None
    assert 1 <= found.warmed <= NOTES
    assert found.spent_s > 0
    assert found.used == 0
    await flush(stoker)
    await forecaster.once()
    found = (await stored(stoker.engine)).figures
    assert found is not None
    assert found.used == 1
    assert found.used_share == 1 / found.warmed


async def test_it_learns_from_readers_alone(stoker: Stoker) -> None:
    forecast = Forecast(stoker)
    await stoker.read("detail", 1, reader=7)
    await stoker.read("detail", 2, reader=SYSTEM)
    keys = [stoker.domain.view("detail").key(note(number)) for number in (3, 4)]
    await stoker.cache.filler.fill_many(keys)
    await flush(stoker)
    await forecast.step(STEP)
    known = forecast.live.predictor.activities
    assert [entry for entry, _ in known.since(0)] == [detail(stoker, 1)]
    assert known.last_by_reader.keys().isdisjoint({"7", 7}), "a digest"


async def test_a_change_is_learnt_when_the_relay_has_applied_it(stoker: Stoker) -> None:
    forecast = Forecast(stoker)
    await stoker.read("detail", 1, reader=7)
    await stoker.read("detail", 2, reader=7)
    await flush(stoker)
    await forecast.step(STEP)
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        stoker.record(session, NoteChanged(note_id=1))
    await apply_all(stoker)
    await flush(stoker)
    await forecast.step(STEP)
    known = forecast.live.predictor.activities
    changed, other = known.get(detail(stoker, 1)), known.get(detail(stoker, 2))
    assert changed is not None
    assert other is not None
    assert changed.changed > 0 == other.changed


async def test_what_was_learnt_survives_the_loss_of_the_cache_and_another_worker_goes_on(
    stoker: Stoker, settings: Settings
) -> None:
    one, other = Forecaster(stoker, "one"), Forecaster(stoker, "two")
    await one.once()
    for number in READ:
        await stoker.read("detail", number, reader=7)
    await flush(stoker)
    await one.once()
    await other.once()
    assert (await stored(stoker.engine)).holder == "one", "one at a time"
    stop = asyncio.Event()
    stop.set()
    await one.run(stop)  # ends in order
    store = stoker.cache.store
    await store.client.call(("UNLINK", store.keys.visits, store.keys.reads, store.keys.heat))
    async with Stoker.opened(settings, stoker.domain) as restarted:
        another = Forecaster(restarted, "three")
        await another.once()
        found = (await stored(restarted.engine)).figures
    assert found is not None
    assert (found.known_entries, found.known_readers) == (len(READ), 1)


async def test_a_worker_that_dies_loses_nothing_that_the_cache_still_has(stoker: Stoker) -> None:
    dead = Forecaster(stoker, "dead")
    await dead.once()
    await stoker.read("detail", 1, reader=7)
    await flush(stoker)
    await dead.once()  # learnt, and not saved
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text("UPDATE stoker.warm_predictor SET lease_until = now() - interval '1 s'")
        )
    assert await state_of(stoker.engine) is None
    successor = Forecaster(stoker, "successor")
    await successor.once()
    found = await stored(stoker.engine)
    assert found.holder == "successor"
    assert found.figures is not None
    assert found.figures.known_entries == 1


async def test_the_schedule_leaves_warming_to_prediction_and_takes_it_back_when_that_is_silent(
    stoker: Stoker, settings: Settings
) -> None:
    await keep(stoker, await learnt(stoker))
    await Forecaster(stoker, "one").once()
    context = JobContext(stoker, Progress(stoker.queue.redis, stoker.queue.settings), "job")
    (scheduled,) = [
        task.job for task in tasks(settings.schedule, stoker.domain) if task.name == "warm_active"
    ]
    assert await run(context, scheduled) is Outcome.LEFT
    assert await run(context, KeepWarm()) is Outcome.LEFT
    assert (await states(stoker))[9] == "miss"
    assert await run(context, Warm()) is Outcome.DONE, "who asks for it gets it"
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text("UPDATE stoker.warm_predictor SET planned_at = planned_at - make_interval(secs => :age)"),
            {"age": VALID_S + 1},
        )
    assert await in_force(stoker.engine) == DEFAULT
    assert await run(context, scheduled) is Outcome.DONE
    assert await run(context, KeepWarm()) is Outcome.DONE


@pytest.mark.parametrize("why", ["paused", "switched off", "default plan"])
async def test_it_learns_and_warms_nothing(place: Place, why: str) -> None:
    switched = {"enable_background_warming": why != "switched off"}
    settings = place.settings(cache={"stats_flush_s": 3600}, schedule=switched)
    async with Stoker.opened(settings, Notes().domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, NOTES)
        live = await learnt(stoker)
        if why == "default plan":
            live.contest.begun = live.now - 60
        await keep(stoker, live)
        if why == "paused":
            await stoker.queue.pause(Lane.WARM)
        await Forecaster(stoker, "one").once()
        assert set((await states(stoker)).values()) == {"miss"}
        found = (await stored(stoker.engine)).figures
        assert found is not None
        assert found.warmed == 0
        assert found.known_entries == len(READ)
        assert found.in_force == (DEFAULT if why == "default plan" else PREDICTOR)
        now = await prediction(stoker)
        assert now.mode is Mode.SHADOW
        assert why == "default plan" or why in now.why


async def test_without_a_budget_nobody_predicts(place: Place) -> None:
    settings = place.settings(schedule={"warm_budget_s": 0})
    async with Stoker.opened(settings, Notes().domain) as stoker:
        await Forecaster(stoker, "one").run(asyncio.Event())
        assert (await stored(stoker.engine)).figures is None


@pytest.mark.parametrize(("share", "budget_s"), [(1.0, 60.0), (0.1, 24.0)])
async def test_the_budget_is_never_more_than_a_share_of_the_loaders_time(
    place: Place, share: float, budget_s: float
) -> None:
    schedule = {"warm_budget_s": 60, "warm_share": share}
    settings = place.settings(schedule=schedule, loaders={"connections": 4})
    async with Stoker.opened(settings, Notes().domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 1)
        await Forecaster(stoker, "one").once()
        figures = (await stored(stoker.engine)).figures
    assert figures is not None
    assert figures.budget_s == budget_s, "of four connections' 240 s a minute"


async def test_only_a_worker_that_warms_predicts(stoker: Stoker) -> None:
    await Forecaster(stoker, "one", lanes=("mail",)).run(asyncio.Event())
    assert (await stored(stoker.engine)).figures is None


async def test_without_views_nobody_predicts_or_complains_about_the_cache(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    domain = Domain(name="mails", scopes=(), views=(), rules=())
    stop = asyncio.Event()
    async with Stoker.opened(place.settings(), domain) as stoker:
        running = asyncio.create_task(Forecaster(stoker, "one").run(stop))
        stop.set()
        await running
        assert (await stored(stoker.engine)).figures is None
    assert "prediction.waits" not in caplog.text


async def test_a_loader_that_is_slow_does_not_cost_more_than_the_budget(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.worker.forecaster.AT_ONCE", 1)
    monkeypatch.setattr("stoker.worker.forecaster.LONGEST_S", 0.0)
    live = await learnt(stoker)
    await keep(stoker, live)
    forecaster = Forecaster(stoker, "one")
    fill_many, asked = stoker.cache.filler.fill_many, []

    async def slow(keys: Any, by: Any) -> Any:  # noqa: ANN401 - of the filler
        asked.append(keys)
        await asyncio.sleep(0.6)
        return await fill_many(keys, by)

    monkeypatch.setattr(stoker.cache.filler, "fill_many", slow)
    await forecaster.once()
    assert len(asked) == 1, "after the first it has taken more than twice of what was expected of all"
    assert forecaster._forecast is not None
    assert forecaster._forecast.live.counted.spent_s >= 0.6


async def test_what_is_read_is_warmed_too_where_the_schedule_keeps_it_warm(
    settings: Settings, stoker: Stoker
) -> None:
    entries = Entries(stoker)
    read = [detail(stoker, 1), '["gone","note","1",""]']
    assert entries.may_be_warmed([], read) == read[:1]
    without = tuple(one for one in MAINTENANCE if not isinstance(one.job, KeepWarm))
    async with Stoker.opened(settings, replace(stoker.domain, schedule=without)) as other:
        assert Entries(other).may_be_warmed([detail(stoker, 2)], read) == [detail(stoker, 2)]


async def test_weights_and_calibration_have_a_history(stoker: Stoker) -> None:
    await keep(stoker, await learnt(stoker, {**BETTER, COUNTS: 40, PREDICTOR: 75}))
    forecaster = Forecaster(stoker, "one")
    await forecaster.once()
    await forecaster._leave()
    async with stoker.engine.connect() as connection:
        row = (await connection.execute(text("SELECT * FROM stoker.warm_history"))).one()
    assert len(row.weights["hour of the day"]) == 24
    assert sum(one["examples"] for one in row.figures["calibration"]) > 0
    assert row.figures["in_force"] == row.in_force == COUNTS


async def test_figures_of_another_release_are_not_shown(stoker: Stoker) -> None:
    await Forecaster(stoker, "one").once()
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text('UPDATE stoker.warm_predictor SET figures = CAST(\'{"in_force": "of old"}\' AS jsonb)')
        )
    assert (await stored(stoker.engine)).figures is None
    assert await in_force(stoker.engine) == DEFAULT
