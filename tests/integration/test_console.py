"""What the console asks the API: sessions, and listings that stay fast however much there is."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from jobs.contracts import Refresh, Warm
from jobs.domain import Invalidation
from jobs.outbox.record import InvalidationRequested
from jobs.stoker import Stoker
from jobs.tasks import relay
from tests.callers import FROM_PAGE, HOST, OPERATOR, TOKENS, VIEWER, client, sign_in
from tests.integration.test_history import row
from tests.notes import SCHEMA, Notes, note
from tests.place import Place
from worker.cli.web import listening
from worker.console.live import Live
from worker.history.charts import Length, charts
from worker.history.job_rows import JobHistory
from worker.schedule.ledger import Ledger
from worker.schedule.runner import Schedule
from worker.schedule.tasks import Task, tasks
from worker.settings import ApiSettings, WorkerSettings


@pytest.fixture
def settings(place: Place) -> WorkerSettings:
    return place.settings(queue={"timeout_s": 20}, api={"tokens": TOKENS})


@pytest.fixture
async def stoker(settings: WorkerSettings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as opened:
        yield opened


@pytest.fixture
async def operator(stoker: Stoker, settings: WorkerSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with client(stoker, settings, OPERATOR) as opened:
        yield opened


# Sessions


async def test_a_session_looks_and_acts_as_its_token(stoker: Stoker, settings: WorkerSettings) -> None:
    async with client(stoker, settings) as page:
        assert (await page.get("/api/session")).json() == {
            "signed_in": False,
            "needs_token": True,
            "name": None,
            "role": None,
            "until": None,
        }
        answer = await sign_in(page, OPERATOR)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert OPERATOR not in cookie
        assert (await page.get("/api/session")).json()["name"] == "oscar"
        body = {"kind": "note", "id": 7}
        done = await page.post("/api/cache/invalidate", json=body, headers=FROM_PAGE)
        assert done.status_code == 202
        entries = (await page.get("/api/audit")).json()["entries"]
        assert [(entry["actor"], entry["action"]) for entry in entries] == [("oscar", "cache.invalidate")]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Stoker-Console": "1", "Origin": "https://evil.example"},
        {"X-Stoker-Console": "1", "Origin": f"http://{HOST}:9999"},
        {"X-Stoker-Console": "1", "Sec-Fetch-Site": "cross-site"},
        {"X-Stoker-Console": "1", "Sec-Fetch-Site": "same-site"},
        {"Origin": f"http://{HOST}"},
    ],
)
async def test_another_sites_page_cannot_act_with_the_cookie(
    stoker: Stoker, settings: WorkerSettings, headers: dict[str, str]
) -> None:
    async with client(stoker, settings) as page:
        await sign_in(page, OPERATOR)
        for method, path in (("POST", "/api/jobs/dead/discard"), ("DELETE", "/api/session")):
            answer = await page.request(method, path, headers=headers, json={"all": True})
            assert answer.status_code == 403, path
        assert (await page.get("/api/audit")).json()["entries"] == []


async def test_a_cookie_that_was_changed_ended_or_outlived_its_token_is_refused(
    stoker: Stoker, settings: WorkerSettings
) -> None:
    async with client(stoker, settings) as page:
        await sign_in(page, VIEWER)
        ((name, value),) = page.cookies.items()
        who, until, nonce, signature = value.split(":")
        forged = [
            f"oscar:{until}:{nonce}:{signature}",
            f"{who}:{int(until) + 9}:{nonce}:{signature}",
            f"{who}:{until}:{nonce}:{'0' * 64}",
            f"{who}:{until}:{nonce}",
            "",
            "x" * 5000,
        ]
        for cookie in forged:
            page.cookies.clear()
            assert (
                await page.get("/api/overview", headers={"Cookie": f"{name}={cookie}"})
            ).status_code == 401
        kept = {"Cookie": f"{name}={value}"}
        assert (await page.get("/api/overview", headers=kept)).status_code == 200
        assert (await page.delete("/api/session", headers={**kept, **FROM_PAGE})).status_code == 200
        assert (await page.get("/api/overview", headers=kept)).status_code == 401

    async with client(stoker, settings) as page:
        await sign_in(page, VIEWER)
        kept = {"Cookie": "; ".join(f"{name}={value}" for name, value in page.cookies.items())}
    other = [{"name": "eve", "role": "viewer", "token": "another-token-0123456789"}]
    rotated = settings.model_copy(
        update={"api": type(settings.api)(**{**settings.api.model_dump(), "tokens": other})}
    )
    async with client(stoker, settings) as again, client(stoker, rotated) as after:
        assert (await again.get("/api/overview", headers=kept)).status_code == 200  # another process
        assert (await after.get("/api/overview", headers=kept)).status_code == 401


async def test_signing_in_is_limited_and_says_when_again(stoker: Stoker, settings: WorkerSettings) -> None:
    async with client(stoker, settings) as page:
        answers = [await sign_in(page, "not-the-right-token") for _ in range(20)]
        assert [one.status_code for one in answers[:5]] == [401] * 5
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await sign_in(page, OPERATOR)).status_code == 429  # the right one is no way to go on guessing


async def test_acting_is_limited_by_token(stoker: Stoker, settings: WorkerSettings) -> None:
    few = settings.model_copy(
        update={"api": type(settings.api)(**{**settings.api.model_dump(), "actions_per_minute": 4})}
    )
    async with client(stoker, few, OPERATOR) as api:
        body = {"kind": "note", "id": 7}
        codes = [(await api.post("/api/cache/invalidate", json=body)).status_code for _ in range(8)]
        assert codes == [202] * 5 + [429] * 3
        assert (await api.get("/api/overview")).status_code == 200


async def test_every_answer_is_strict_and_the_page_is_not_kept_past_a_change(
    operator: httpx.AsyncClient,
) -> None:
    page = await operator.get("/")
    for answer in (page, await operator.get("/api/overview"), await operator.get("/nowhere")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    again = await operator.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await operator.get("/console/../app.py")).status_code == 404
    assert "<script>" not in page.text
    assert "style=" not in page.text


# Tokens


async def test_a_token_made_by_an_operator_is_shown_once_counts_at_once_and_ends_when_revoked(
    operator: httpx.AsyncClient,
) -> None:
    made = await operator.post("/api/tokens", json={"name": "grafana", "role": "viewer"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    token = made.json()["token"]
    as_grafana = {"Authorization": f"Bearer {token}"}
    assert (await operator.get("/api/overview", headers=as_grafana)).status_code == 200
    listed = await operator.get("/api/tokens")
    assert token not in listed.text
    assert [one["name"] for one in listed.json()["tokens"]] == ["grafana"]
    assert listed.json()["settings"][0] == {"name": "eve", "role": "viewer"}
    assert (await operator.post("/api/tokens/revoke", json={"name": "grafana"})).status_code == 200
    assert (await operator.get("/api/overview", headers=as_grafana)).status_code == 401
    entries = (await operator.get("/api/audit", params={"action": "token"})).json()["entries"]
    assert [(one["actor"], one["action"]) for one in entries] == [
        ("oscar", "token.revoke"),
        ("oscar", "token.add"),
    ]
    assert token not in json.dumps(entries)


async def test_a_name_in_use_is_not_given_to_another_token(operator: httpx.AsyncClient) -> None:
    assert (await operator.post("/api/tokens", json={"name": "ann"})).status_code == 201
    for name in ("ann", "eve"):  # added, and of the settings
        refused = await operator.post("/api/tokens", json={"name": name})
        assert (refused.status_code, refused.json()["field"]) == (422, "name")
    assert (await operator.post("/api/tokens/revoke", json={"name": "eve"})).status_code == 404
    assert (await operator.post("/api/tokens", json={"name": "no spaces"})).status_code == 422


# The overview


async def test_the_overview_says_what_is_wrong_in_words(operator: httpx.AsyncClient, stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([Invalidation(note(7))]))
    async with stoker.engine.begin() as connection:
        await connection.execute(text("UPDATE cache_events SET recorded_at = now() - interval '2 minutes'"))
    found = (await operator.get("/api/overview")).json()
    assert found["verdict"] == "wrong"
    says = " ".join(concern["says"] for concern in found["concerns"])
    assert "1 change not applied, the oldest for 2 min" in says
    assert "no worker reports" in says
    assert found["lanes"]["warm"]["wait_p99_s"] is None


async def test_a_stream_tells_news_to_everybody_with_one_look_and_ends_when_closed() -> None:
    looks = 0
    twice = asyncio.Event()

    async def look() -> str:
        nonlocal looks
        looks += 1
        if looks > 1:
            twice.set()
        return f"picture {looks}"

    live = Live(look)

    async def watch() -> list[str]:
        return [picture async for picture in live.watch()]

    watching = [asyncio.create_task(watch()) for _ in range(5)]
    await twice.wait()
    await live.close()
    seen = await asyncio.gather(*watching)
    assert all(pictures[0] == "picture 1" for pictures in seen)
    assert looks <= 3


# Listings


async def test_viewers_see_no_arguments_and_no_tracebacks(stoker: Stoker, settings: WorkerSettings) -> None:
    await JobHistory(stoker.engine).add([row(job_id="j1", arguments={"secret": "value"})])
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO dead_jobs (job_id, lane, kind, payload, reason, error, traceback, fingerprint,"
                " attempts) VALUES ('j1', 'warm', 'warm.v1', '{\"secret\": \"value\"}', 'failed', 'boom',"
                " 'secret trace', 'abc', 1)"
            )
        )
    async with client(stoker, settings, VIEWER) as eve, client(stoker, settings, OPERATOR) as oscar:
        for path in ("/api/jobs", "/api/jobs/j1", "/api/jobs/dead", "/api/jobs/dead/groups"):
            assert "secret" not in (await eve.get(path)).text, path
        shown = (await oscar.get("/api/jobs/j1")).json()
        assert (shown["arguments"], shown["dead"]["traceback"]) == ({"secret": "value"}, "secret trace")
        assert (await oscar.get("/api/jobs/unheard-of")).status_code == 404


async def test_jobs_are_found_by_state_lane_contract_scope_and_error(
    operator: httpx.AsyncClient, stoker: Stoker
) -> None:
    await stoker.enqueue(Refresh(view="detail", scope_id="7"))
    await stoker.enqueue(Warm(), delay=timedelta(hours=1))
    await JobHistory(stoker.engine).add(
        [
            row(job_id="good", scope="note:7", kind="refresh.v1", lane="refresh"),
            row(job_id="again", failed=True, outcome="retried", error="It went BOOM"),
            row(job_id="dead", failed=True, outcome="dead", error="boom_ 100%"),
        ]
    )

    async def found(**given: str) -> list[str]:
        both = (await operator.get("/api/jobs", params=given)).json()
        return [job["kind"] for job in both["live"]] + [job["job_id"] for job in both["ended"]]

    assert await found() == ["dead", "again", "good"]
    assert await found(state="ready") == ["refresh.v1"]
    assert await found(state="deferred") == ["warm.v1"]
    assert await found(state="deferred", lane="refresh") == []
    assert await found(state="ready", scope="note:7") == ["refresh.v1"]
    assert await found(state="failed") == ["again"]
    assert await found(state="dead") == ["dead"]
    assert await found(lane="refresh") == ["good"]
    assert await found(kind="refresh.v1") == ["good"]
    assert await found(error="boom") == ["dead", "again"]
    assert await found(error="100%") == ["dead"]
    assert await found(error="_x") == []
    assert (await operator.get("/api/jobs", params={"state": "sleeping"})).status_code == 422
    live = (await operator.get("/api/jobs", params={"state": "ready"})).json()["live"][0]
    shown = (await operator.get(f"/api/jobs/{live['job_id']}")).json()
    assert (shown["live"]["state"], shown["scope"]) == ("ready", "note:7")
    assert shown["arguments"]["view"] == "detail"


COPIES = """
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local payload = redis.call('GET', 'arq:job:' .. first[1])
for number = ARGV[1], ARGV[2] do
  redis.call('SET', 'arq:job:' .. first[1] .. number, payload, 'PX', 600000)
  redis.call('ZADD', KEYS[1], first[2], first[1] .. number)
end
"""
"""One job many times over: enqueueing each would take most of this file's time."""


async def test_everything_is_answered_quickly_on_a_hundred_thousand_jobs(
    operator: httpx.AsyncClient, stoker: Stoker
) -> None:
    await stoker.queue.enqueue(Refresh(view="detail", scope_id="1"))
    for start in range(1, 100_000, 11_111):
        args = (f"{stoker.queue.settings.prefix}:refresh", str(start), str(start + 11_110))
        await stoker.queue.redis.eval(COPIES, 1, *args)  # type: ignore[misc]
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO dead_jobs (job_id, lane, kind, payload, reason, error, traceback, fingerprint,"
                " attempts) SELECT 'dead' || n, 'warm', 'warm.v1', '{}', 'failed', 'boom', repeat('x', 500),"
                " md5((n % 30)::text), 1 FROM generate_series(1, 100000) n"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO job_history (job_id, lane, kind, outcome, failed, attempt, error, waited_s,"
                " ran_s, worker) SELECT 'j' || n, 'warm', 'warm.v1', 'dead', true, 1, 'boom', 0, 0, 'w'"
                " FROM generate_series(1, 50000) n"
            )
        )
    async with stoker.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
            text("VACUUM ANALYZE")
        )
    paths = (
        "/",
        "/api/overview",
        "/api/jobs",
        "/api/jobs?state=ready",
        "/api/jobs?error=nothing+like+it",
        "/api/jobs/dead",
        "/api/jobs/dead/groups",
        "/api/history?length=day",
    )
    took = {path: await fastest(operator, path) for path in paths}
    # The promise is 100 ms; machines that run tests are shared.
    assert max(took.values()) < 0.4, took
    assert took["/"] < 0.1


async def fastest(api: httpx.AsyncClient, path: str) -> float:
    """Of five, in seconds."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert (await api.get(path)).status_code == 200
        took.append(time.perf_counter() - began)
    return min(took)


# Scopes


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


async def test_a_refresh_is_asked_for_by_scope(operator: httpx.AsyncClient) -> None:
    asked = await operator.post("/api/cache/refresh", json={"kind": "note", "id": 7, "views": ["detail"]})
    assert asked.status_code == 202
    (job_id,) = asked.json()["job_ids"]
    shown = (await operator.get(f"/api/jobs/{job_id}")).json()
    assert (shown["kind"], shown["scope"]) == ("refresh.v1", "note:7")
    wrong = await operator.post("/api/cache/refresh", json={"kind": "note", "id": 7, "views": ["x"]})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "views")


# The schedule


async def test_a_paused_task_lets_its_slots_pass_and_runs_by_hand(
    operator: httpx.AsyncClient, stoker: Stoker, settings: WorkerSettings
) -> None:
    task = next(task for task in tasks(settings.schedule) if task.name == "prune")
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


# Charts


async def test_charts_are_aligned_and_leave_gaps_where_nothing_was_kept(stoker: Stoker) -> None:
    now = datetime.now(UTC).replace(second=30, microsecond=0)
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO figure_history SELECT 60, date_trunc('minute', CAST(:now AS timestamptz))"
                " - n * interval '1 minute', series, series LIKE '%ready', value"
                " FROM generate_series(0, 2) n, (VALUES ('view:detail:hits', 90),"
                " ('view:detail:miss_cold', 10), ('lane:warm:done', 5), ('lane:warm:ready', 4),"
                " ('lane:warm:wait:0.05', 5)) AS s (series, value)"
            ),
            {"now": now},
        )
    found = await charts(stoker.engine, Length.HOUR, now)
    assert len(found.at) == len(found.hit_rate) == 60
    assert found.hit_rate[-4:] == [None, 0.9, 0.9, 0.9]
    assert found.lanes["warm"].done_per_minute[-3:] == [5, 5, 10]  # half of the last minute has passed
    assert found.lanes["warm"].ready[-1] == 4
    assert 0.025 < (found.lanes["warm"].wait_p99_s[-1] or 0) <= 0.05
    assert found.misses_per_minute["cold"][-2] == 10
    day = await charts(stoker.engine, Length.DAY, now)
    assert len(day.at) == 144


# Speed


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
