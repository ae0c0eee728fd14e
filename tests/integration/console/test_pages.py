"""What the console shows beside jobs: the overview, scopes, the schedule, charts, and all of it live."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from stoker.cli.web import address, listening, serve
from stoker.console import live as live_pages
from stoker.console.live import MOST, MOST_OF_ONE, OPERATORS, Live
from stoker.handlers import relay
from stoker.history.charts import Length, charts
from stoker.history.job_rows import JobHistory
from stoker.operations.entries import most_invalidated
from stoker.outbox.record import InvalidationRequested
from stoker.rules import Invalidation
from stoker.settings import ApiSettings, Settings
from stoker.stoker import Stoker
from stoker.worker.schedule.ledger import Ledger
from stoker.worker.schedule.runner import Schedule
from stoker.worker.schedule.tasks import Task, tasks
from tests.integration.test_history import row
from tests.support.callers import OPERATOR, bearing
from tests.support.notes import EVERY_SCOPE_CHANGED, SCHEMA, note


async def test_the_overview_says_what_is_wrong_in_words(operator: httpx.AsyncClient, stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([Invalidation(note(7))]))
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text("UPDATE stoker.cache_events SET recorded_at = now() - interval '2 minutes'")
        )
    found = (await operator.get("/api/overview")).json()
    assert found["verdict"] == "wrong"
    says = " ".join(concern["says"] for concern in found["concerns"])
    assert "1 change not applied, the oldest for 2 min" in says
    assert "no worker reports" in says
    assert found["lanes"]["warm"]["wait_p99_s"] is None


async def test_a_stream_tells_news_to_everybody_with_one_query_and_ends_when_closed() -> None:
    queries = 0
    twice = asyncio.Event()

    async def query() -> str:
        nonlocal queries
        queries += 1
        if queries > 1:
            twice.set()
        return f"picture {queries}"

    live = Live(query)

    async def watch() -> list[str]:
        with live.place("ann", operator=False):
            return [picture async for picture in live.watch()]

    watching = [asyncio.create_task(watch()) for _ in range(5)]
    await twice.wait()
    await live.close()
    seen = await asyncio.gather(*watching)
    assert all(pictures[0] == "picture 1" for pictures in seen)
    assert queries <= 3


async def test_pages_of_one_token_leave_room_for_those_of_others_and_viewers_for_operators() -> None:
    async def picture() -> str:
        return "picture"

    live = Live(picture)
    with ExitStack() as held:

        def given(who: str, *, operator: bool = False) -> bool:
            return held.enter_context(live.place(who, operator=operator))

        assert [given("eve") for _ in range(MOST_OF_ONE + 2)] == [True] * MOST_OF_ONE + [False] * 2
        others = [given(f"viewer {number}") for number in range(MOST)]
        assert others.count(True) == MOST - OPERATORS - MOST_OF_ONE
        assert [given("oscar", operator=True) for _ in range(2)] == [True] * 2
        assert not given("another viewer")
    with live.place("eve", operator=False) as again:
        assert again
    await live.close()


async def test_places_are_taken_before_an_answer_begins(
    stoker: Stoker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 requests at once were admitted of 200: each was counted only once its page watched."""
    monkeypatch.setattr(live_pages, "MOST_OF_ONE", 3)
    monkeypatch.setattr(live_pages, "EVERY_S", 60)
    enough, stop, codes = asyncio.Event(), asyncio.Event(), []

    async def ask(client: httpx.AsyncClient) -> int:
        async with client.stream("GET", "/api/live", headers=bearing(OPERATOR)) as answer:
            if answer.status_code == 200:
                await anext(answer.aiter_lines())
                await enough.wait()
            return answer.status_code

    with listening(ApiSettings(port=0)) as taken:
        serving = asyncio.create_task(serve(stoker, settings, taken, stop))
        async with httpx.AsyncClient(base_url=address(taken), timeout=60) as client:
            asked = [asyncio.create_task(ask(client)) for _ in range(12)]
            for done in asyncio.as_completed(asked):
                codes.append(await done)
                if len(codes) == 9:
                    enough.set()
            assert sorted(codes) == [200] * 3 + [503] * 9
            async with asyncio.timeout(30):
                while await ask(client) != 200:
                    pass  # the server has not heard yet that the pages are gone
        stop.set()
        await serving


async def test_a_scope_shows_its_entries_stamps_and_who_invalidated_it(
    operator: httpx.AsyncClient, stoker: Stoker
) -> None:
    async with stoker.engine.begin() as connection:
        for statement in (
            *SCHEMA,
            "INSERT INTO notes VALUES (7, 'x')",
            "INSERT INTO note_members VALUES (7, 1)",
        ):
            await connection.execute(text(statement))
    for view in ("detail", "summary"):
        await stoker.read(view, 7, reader=1)
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)

    async def shown() -> tuple[dict[str, str], dict[str, bool], Any]:
        found = (await operator.get("/api/cache/scope", params={"kind": "note", "id": "7"})).json()
        states = {entry["view"]: entry["state"] for entry in found["entries"]}
        return states, {stamp["name"]: stamp["present"] for stamp in found["stamps"]}, found

    states, stamps, found = await shown()
    assert states == {"detail": "valid", "summary": "valid", "access": "valid"}
    assert all(stamps.values())
    detail = found["entries"][0]
    assert 0 < detail["stored_bytes"] < 500
    assert detail["build_ms"] >= 0
    assert detail["read_at"] is not None
    assert found["events"] == []

    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([Invalidation(note(7), frozenset({"summary"}))]))
    await relay.apply_all(stoker)
    states, stamps, found = await shown()
    assert (states["detail"], states["summary"]) == ("valid", "invalidated")
    assert (stamps["detail"], stamps["summary"]) == (True, False)
    (event,) = found["events"]
    assert (event["by"], event["views"], event["hard"]) == (
        "stoker.invalidation_requested",
        ["summary"],
        False,
    )
    assert event["applied_at"] is not None
    assert "body" not in json.dumps(found).replace("body_bytes", "")

    slow = (await operator.get("/api/cache/entries", params={"by": "slow"})).json()["entries"]
    assert {entry["scope"] for entry in slow} == {"note:7"}
    most = (await operator.get("/api/cache/invalidated")).json()["scopes"]
    assert [(one["scope"], one["events"]) for one in most] == [("note:7", 1)]


async def test_changes_of_every_scope_are_among_the_most_invalidated(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text(EVERY_SCOPE_CHANGED))
    await relay.apply_all(stoker)
    assert [one.scope for one in (await most_invalidated(stoker, 5)).scopes] == ["every scope"]


async def test_a_refresh_is_asked_for_by_scope(operator: httpx.AsyncClient) -> None:
    asked = await operator.post("/api/cache/refresh", json={"kind": "note", "id": 7, "views": ["detail"]})
    assert asked.status_code == 202
    (job_id,) = asked.json()["job_ids"]
    shown = (await operator.get(f"/api/jobs/{job_id}")).json()
    assert (shown["kind"], shown["scope"]) == ("refresh.v1", "note:7")
    wrong = await operator.post("/api/cache/refresh", json={"kind": "note", "id": 7, "views": ["x"]})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "views")


async def test_a_paused_task_lets_its_slots_pass_and_runs_by_hand(
    operator: httpx.AsyncClient, stoker: Stoker, settings: Settings
) -> None:
    task = next(task for task in tasks(settings.schedule, stoker.domain) if task.name == "prune")
    clock = task.following(datetime.now(UTC))
    enqueued: list[object] = []

    async def enqueue(job: object) -> None:
        enqueued.append(job)

    async def is_open(_job_id: str) -> bool:
        return False

    async def tick(task: Task, at: datetime) -> None:
        async def clock() -> datetime:
            return at

        ledger = Ledger(stoker.engine, "w")
        await Schedule([task], ledger, enqueue, is_open, settings.schedule, clock).tick()

    assert (await operator.post("/api/schedule/prune/pause")).json() == {"task": "prune", "paused": True}
    await tick(task, clock)
    assert enqueued == []
    asked = await operator.post("/api/schedule/prune/run")
    assert asked.status_code == 202
    shown = {one["name"]: one for one in (await operator.get("/api/schedule")).json()["tasks"]}["prune"]
    assert (shown["paused_by"], shown["slots"][0]["asked_by"]) == ("oscar", "oscar")
    assert shown["slots"][0]["job_id"] == asked.json()["job_id"]
    await operator.post("/api/schedule/prune/resume")
    await tick(task, clock)
    assert len(enqueued) == 1
    assert (await operator.post("/api/schedule/nothing/run")).status_code == 404


async def test_a_run_of_a_task_shows_how_long_it_took(operator: httpx.AsyncClient, stoker: Stoker) -> None:
    job_id = (await operator.post("/api/schedule/prune/run")).json()["job_id"]
    await JobHistory(stoker.engine).add([row(job_id=job_id, kind="prune.v1", ran_s=2.5)])
    shown = {one["name"]: one for one in (await operator.get("/api/schedule")).json()["tasks"]}["prune"]
    assert (shown["slots"][0]["ran_s"], shown["slots"][0]["outcome"]) == (2.5, "done")


MINUTES = (
    "INSERT INTO stoker.figure_history SELECT 60, date_trunc('minute', CAST(:now AS timestamptz))"
    " - n * interval '1 minute', series, series LIKE '%ready', value"
    " FROM generate_series(0, 3) n, (VALUES ('view:detail:hits', 90),"
    " ('view:detail:miss_cold', 10), ('lane:warm:done', 5), ('lane:warm:ready', 4),"
    " ('lane:warm:wait:0.05', 5), ('lane:warm:waited:0.05', 0.2)) AS s (series, value) WHERE n <> 2"
)
"""A whole minute and the current one, a minute without figures, and a whole one before it."""


async def test_charts_are_aligned_and_leave_gaps_where_nothing_was_kept(stoker: Stoker) -> None:
    now = datetime.now(UTC).replace(second=30, microsecond=0)
    async with stoker.engine.begin() as connection:
        await connection.execute(text(MINUTES), {"now": now})
    found = await charts(stoker.engine, Length.HOUR, now)
    assert len(found.at) == len(found.hit_rate) == 60
    whole = now.replace(second=0).timestamp()
    assert found.at[-1] == whole - 60, "the minute that is not over would look like a fall"
    assert found.hit_rate[-4:] == [None, 0.9, None, 0.9]
    assert found.lanes["warm"].done_per_minute[-3:] == [5, None, 5]
    assert found.lanes["warm"].ready[-1] == 4
    assert found.lanes["warm"].wait_p99_s[-1] == 0.04, "the mean of the bucket, no more than any wait"
    assert found.misses_per_minute["cold"][-1] == 10
    [gap] = found.gaps
    assert (gap.begun, gap.ended) == (whole - 120, whole - 60)
    assert gap.why == "no figures: neither a worker nor an API process ran, or Postgres was away"
    day = await charts(stoker.engine, Length.DAY, now)
    assert len(day.at) == 144
    assert day.at[-1] + day.step_s <= now.timestamp()


@pytest.mark.parametrize(
    ("server", "why", "lanes", "views"),
    [
        ("database", "Postgres did not answer", None, None),
        ("queue", "the queue Redis did not answer", None, 0),
        ("cache", "the cache Redis did not answer", 0, None),
    ],
)
async def test_a_server_that_was_away_is_a_gap_of_what_it_has_and_not_a_zero(
    stoker: Stoker, server: str, why: str, lanes: float | None, views: float | None
) -> None:
    now = datetime.now(UTC).replace(second=30, microsecond=0)
    kept = {"queue": "lane:warm:ready", "cache": "server:cache:used_bytes"}
    series = [f"server:{server}:down"]
    series += [one for name, one in kept.items() if server not in (name, "database")]
    async with stoker.engine.begin() as connection:
        await connection.execute(text(MINUTES), {"now": now - timedelta(minutes=1)})
        await connection.execute(
            text(
                "INSERT INTO stoker.figure_history SELECT 60, date_trunc('minute', CAST(:now AS timestamptz))"
                " - interval '3 minutes', series, true, 1 FROM unnest(CAST(:series AS varchar[])) AS series"
            ),
            {"now": now, "series": series},
        )
    found = await charts(stoker.engine, Length.HOUR, now)
    assert [gap.why for gap in found.gaps] == [why]
    assert found.lanes["warm"].done_per_minute[-3] == lanes
    assert found.views["detail"].reads_per_minute[-3] == views


async def test_answers_on_a_kept_connection_are_not_undelayed_by_nagles_algorithm() -> None:
    accepted = asyncio.Event()
    undelayed: list[int] = []

    def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        undelayed.append(asked)
        writer.close()
        accepted.set()

    with listening(ApiSettings(port=0)) as taken:
        async with await asyncio.start_server(take, sock=taken):
            _, writer = await asyncio.open_connection(*taken.getsockname())
            await accepted.wait()
            writer.close()
    assert undelayed == [1]
