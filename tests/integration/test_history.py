"""History on real servers: what is kept, counted once, rolled up and forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from stoker.errors import DatabaseUnavailable
from stoker.histogram import bucket
from stoker.history import job_rows
from stoker.history.figures import FigureHistory
from stoker.history.job_rows import Filter, JobHistory, JobRow
from stoker.history.keeper import Keeper
from stoker.history.presence import SILENT_S, Presence, served_lanes, silences
from stoker.history.recorder import Recorder
from stoker.history.sampler import Sampler
from stoker.history.series import WAIT, WAITED, quantile
from stoker.history.times import JobTimes
from stoker.jobs import KeepWarm, Lane, Refresh
from stoker.stoker import Stoker
from tests.support.notes import Notes
from tests.support.place import Place

NOW = timedelta(0)


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), Notes().domain) as opened:
        yield opened


def row(**changes: object) -> JobRow:
    values: dict[str, Any] = {
        "job_id": "j1",
        "lane": "warm",
        "kind": "warm.v1",
        "outcome": "done",
        "failed": False,
        "attempt": 1,
        "scope": None,
        "arguments": {"target": "active"},
        "error": None,
        "waited_s": 0.5,
        "ran_s": 1.5,
        "ended_at": datetime.now(UTC),
        "worker": "w",
    }
    return JobRow(**{**values, **changes})


async def kept(stoker: Stoker, span_s: int = 60) -> dict[str, float]:
    query = text(
        "SELECT series, sum(value) FROM stoker.figure_history WHERE span_s = :span_s GROUP BY series"
    )
    async with stoker.engine.connect() as connection:
        rows = await connection.execute(query, {"span_s": span_s})
        return {one.series: one[1] for one in rows}


async def test_counters_are_counted_once_however_many_workers_sample(stoker: Stoker) -> None:
    history = FigureHistory(stoker.engine)
    samplers = [Sampler(stoker, history, NOW) for _ in range(3)]
    await samplers[0].sample()
    store = stoker.cache.store
    stoker.accounting.count("detail", "hits", 5)
    stoker.accounting.count("detail", "miss_cold", 2)
    await stoker.accounting.flush(store.client, store.keys)
    await asyncio.gather(*(sampler.sample() for sampler in samplers))
    for sampler in samplers:
        await sampler.sample()
    found = await kept(stoker)
    assert (found["view:detail:hits"], found["view:detail:miss_cold"]) == (5, 2)
    assert found["lane:warm:ready"] == 0


async def test_waits_that_all_workers_told_are_sampled_once(stoker: Stoker) -> None:
    history = FigureHistory(stoker.engine)
    samplers = [Sampler(stoker, history, NOW) for _ in range(2)]
    await samplers[0].sample()
    for waited_s in (0.02, 0.02, 5000):
        worker = JobTimes()
        worker.job_started(Lane.REFRESH, "refresh.v1", waited_s)
        await worker.tell(stoker.queue)
    await asyncio.gather(*(sampler.sample() for sampler in samplers))
    for sampler in samplers:
        await sampler.sample()
    waits = {series: value for series, value in (await kept(stoker)).items() if WAIT in series}
    assert waits == {"lane:refresh:wait:0.025": 2, "lane:refresh:wait:inf": 1}


async def test_a_counter_that_began_anew_is_not_counted_backwards(stoker: Stoker) -> None:
    sampler = Sampler(stoker, FigureHistory(stoker.engine), NOW)
    store = stoker.cache.store
    for hits in (5, 3):
        await store.client.call(("DEL", store.keys.counters("detail")))
        stoker.accounting.count("detail", "hits", hits)
        await stoker.accounting.flush(store.client, store.keys)
        await sampler.sample()
    assert (await kept(stoker))["view:detail:hits"] == 3


async def test_what_happened_while_nobody_watched_makes_no_spike(stoker: Stoker) -> None:
    sampler = Sampler(stoker, FigureHistory(stoker.engine), NOW)
    await sampler.sample()
    async with stoker.engine.begin() as connection:
        await connection.execute(text("UPDATE stoker.figure_marks SET at = at - interval '1 hour'"))
    store = stoker.cache.store
    stoker.accounting.count("detail", "hits", 1000)
    await stoker.accounting.flush(store.client, store.keys)
    await sampler.sample()
    assert "view:detail:hits" not in await kept(stoker)


async def test_a_sampler_leaves_alone_what_another_has_just_done(stoker: Stoker) -> None:
    history = FigureHistory(stoker.engine)
    assert await Sampler(stoker, history, timedelta(minutes=1)).sample()
    assert not await Sampler(stoker, history, timedelta(minutes=1)).sample()


async def test_minutes_become_hours_and_days_and_rolling_up_twice_changes_nothing(stoker: Stoker) -> None:
    history = FigureHistory(stoker.engine)
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO stoker.figure_history SELECT 60,"
                " date_trunc('day', now(), 'UTC') + n * interval '1 minute', series, gauge, n"
                " FROM generate_series(0, 119) n,"
                " (VALUES ('view:a:hits', false), ('lane:b:ready', true)) AS s (series, gauge)"
            )
        )
    for _ in range(2):
        await history.roll_up(timedelta(days=2))
    days = await kept(stoker, 86400)
    assert days == {"view:a:hits": sum(range(120)), "lane:b:ready": 119}
    assert (await kept(stoker, 3600))["lane:b:ready"] == 59 + 119


async def test_old_figures_are_forgotten_and_their_hours_stay(stoker: Stoker) -> None:
    history = FigureHistory(stoker.engine)
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO stoker.figure_history VALUES"
                " (60, now() - interval '27 hours', 's:a:hits', false, 1),"
                " (3600, now() - interval '27 hours', 's:a:hits', false, 1),"
                " (3600, now() - interval '33 days', 's:a:hits', false, 1)"
            )
        )
    await history.roll_up(timedelta(days=2))
    await history.forget()
    assert await kept(stoker, 60) == {}
    assert await kept(stoker, 3600) == {"s:a:hits": 1}


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_quantile_is_never_beyond_what_occurred_and_lies_in_its_bucket(
    waits: list[float], share: float
) -> None:
    row: Counter[str] = Counter()
    for waited_s in waits:
        row[f"{WAIT}{bucket(waited_s)}"] += 1
        row[f"{WAITED}{bucket(waited_s)}"] += waited_s  # type: ignore[assignment]
    found = quantile(row, WAIT, WAITED, share)
    exact = sorted(waits)[ceil(len(waits) * share) - 1]
    assert found is not None
    assert min(waits) - 1e-6 <= found <= max(waits) + 1e-6
    assert bucket(found) == bucket(exact) or found == pytest.approx(exact)


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile({}, WAIT, WAITED, 0.5) is None


async def test_runs_are_noted_with_what_they_were_about_and_why_they_failed(stoker: Stoker) -> None:
    recorder = Recorder(stoker.domain, "w1")

    async def carry_out(job_id: str, _job: object, _attempt: int) -> str:
        if job_id == "bad":
            raise ValueError("no \0 luck")
        return "stored"

    async def one(job_id: str, ending: str) -> None:
        recorder.job_started(Lane.REFRESH, "refresh.v1", 0.02)
        run = recorder.around(carry_out)
        await asyncio.gather(
            asyncio.create_task(run(job_id, Refresh(view="detail", scope_id="7"), 2)), return_exceptions=True
        )
        recorder.job_ended(Lane.REFRESH, "refresh.v1", ending, 0.1)

    await asyncio.gather(
        *(asyncio.create_task(one(*which)) for which in (("good", "stored"), ("bad", "dead")))
    )
    recorder.job_ended(Lane.WARM, "<unknown>", "dead", 0.0)
    history = JobHistory(stoker.engine)
    await history.add(recorder.take())
    found = {row.job_id: row for row in await history.list(Filter(), limit=10, arguments=True)}
    assert (found["good"].scope, found["good"].attempt, found["good"].error) == ("note:7", 2, None)
    assert (found["bad"].error, found["bad"].failed) == ("ValueError: no \ufffd luck", True)
    assert found[None].kind == "<unknown>"
    assert [row.job_id for row in await history.list(Filter(error="LUCK"), limit=10)] == ["bad"]
    assert [row.job_id for row in await history.list(Filter(scope="note:7", failed=False), limit=10)] == [
        "good"
    ]
    assert recorder.take() == []


async def test_runs_wait_in_memory_while_postgres_is_away_up_to_a_bound(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(stoker.domain, "w1")
    keeper = Keeper(stoker, recorder, "w1", timedelta(seconds=10))

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(JobHistory, "add", away)
        for number in range(300):
            recorder.job_ended(Lane.WARM, "warm.v1", "dead" if number % 3 == 0 else "done", 0.0)
            if number % 50 == 0:
                await keeper.once()
    await keeper.once()
    found = await JobHistory(stoker.engine).list(Filter(), limit=1000)
    assert sum(row.failed for row in found) == 100
    assert sum(not row.failed for row in found) == 100


async def test_the_table_of_runs_is_bounded_and_keeps_failures(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_rows, "WELL_KEPT", 10)
    history = JobHistory(stoker.engine)
    await history.add([row(job_id=f"j{n}") for n in range(30)])
    await history.add([row(job_id="failure", failed=True, outcome="dead", error="boom")])
    await history.add([row(job_id="other", kind="prune.v1")])
    await history.forget(["warm.v1", "prune.v1"])
    ids = [one.job_id for one in await history.list(Filter(), limit=100)]
    assert ids == ["other", "failure", *(f"j{n}" for n in range(29, 19, -1))]


async def test_a_parked_job_is_no_run(stoker: Stoker) -> None:
    recorder = Recorder(stoker.domain, "w1")
    recorder.job_ended(Lane.WARM, "of.another.release", "parked", 0.0)
    recorder.job_ended(Lane.WARM, KeepWarm.kind, "done", 0.0)
    assert [one.kind for one in recorder.take()] == [KeepWarm.kind]


async def test_kinds_that_nobody_knows_share_one_bound(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_rows, "WELL_KEPT", 10)
    history = JobHistory(stoker.engine)
    await history.add([row(job_id="known"), row(job_id="failure", kind="made.up", failed=True)])
    await history.add([row(job_id=f"j{n}", kind=f"made.up.{n}", outcome="dead") for n in range(30)])
    await history.forget(["warm.v1"])
    ids = [one.job_id for one in await history.list(Filter(), limit=100)]
    assert ids == [*(f"j{n}" for n in range(29, 19, -1)), "failure", "known"]


async def test_pages_follow_each_other(stoker: Stoker) -> None:
    history = JobHistory(stoker.engine)
    await history.add([row(job_id=f"j{n}") for n in range(5)])
    first = await history.list(Filter(), limit=3)
    second = await history.list(Filter(), limit=3, before=first[-1].id)
    assert [one.job_id for one in [*first, *second]] == ["j4", "j3", "j2", "j1", "j0"]


async def test_the_keeper_writes_the_last_runs_when_it_stops(stoker: Stoker) -> None:
    recorder = Recorder(stoker.domain, "w1")
    keeper = Keeper(stoker, recorder, "w1", timedelta(seconds=10))
    stop = asyncio.Event()
    running = asyncio.create_task(keeper.run(stop))
    recorder.job_started(Lane.WARM, KeepWarm.kind, 0.0)
    recorder.job_ended(Lane.WARM, KeepWarm.kind, "done", 0.2)
    stop.set()
    await running
    assert [one.kind for one in await JobHistory(stoker.engine).list(Filter(), limit=5)] == ["keep_warm.v1"]


async def test_a_run_that_ends_during_the_keepers_last_but_one_pass_is_written(stoker: Stoker) -> None:
    stop = asyncio.Event()

    class LateRun(Recorder):
        def take(self) -> list[JobRow]:
            taken = super().take()
            if not stop.is_set():  # the last job ends right after, and then the keeper is told to stop
                self.job_ended(Lane.WARM, KeepWarm.kind, "done", 0.2)
                stop.set()
            return taken

    keeper = Keeper(stoker, LateRun(stoker.domain, "w1"), "w1", timedelta(seconds=10))
    await keeper.run(stop)
    assert [one.kind for one in await JobHistory(stoker.engine).list(Filter(), limit=5)] == ["keep_warm.v1"]


async def test_a_worker_that_has_stopped_in_order_is_not_waited_for(stoker: Stoker) -> None:
    keeper = Keeper(stoker, Recorder(stoker.domain, "w1"), "w1", timedelta(seconds=10))
    await Presence(stoker.engine, "killed").seen()
    await keeper.once()
    assert list(await silences(stoker.engine)) == ["killed", "w1"]
    stop = asyncio.Event()
    stop.set()
    await keeper.run(stop)
    assert list(await silences(stoker.engine)) == ["killed"]


async def test_lanes_are_served_as_long_as_a_worker_says_so(stoker: Stoker) -> None:
    await Presence(stoker.engine, "w1", ["mail", "changes"]).seen()
    await Presence(stoker.engine, "w2", ["warm", "changes"]).seen()
    assert await served_lanes(stoker.engine) == ["changes", "mail", "warm"]
    assert list(await silences(stoker.engine)) == ["w1", "w2"]
    await age_marks(stoker, "20 seconds")
    await Presence(stoker.engine, "w2", ["warm", "changes"]).seen()
    assert await served_lanes(stoker.engine) == ["changes", "warm"]


async def test_a_worker_that_says_nothing_is_seen_to_be_silent_and_then_forgotten(stoker: Stoker) -> None:
    await Presence(stoker.engine, "w1").seen()
    assert (await silences(stoker.engine))["w1"] < SILENT_S
    await age_marks(stoker, "20 seconds")
    assert (await silences(stoker.engine))["w1"] > SILENT_S
    await Presence(stoker.engine, "w1").seen()
    assert (await silences(stoker.engine))["w1"] < SILENT_S
    await age_marks(stoker, "1 hour")
    assert await silences(stoker.engine) == {}


async def age_marks(stoker: Stoker, by: str) -> None:
    async with stoker.engine.begin() as connection:
        await connection.execute(text(f"UPDATE stoker.figure_marks SET at = at - interval '{by}'"))  # noqa: S608 - ours
