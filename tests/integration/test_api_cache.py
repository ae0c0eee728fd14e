"""The operators' API on real servers, with a domain of its own that is no one's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.cache.view import Access, EntryKey, Scope, ScopeKind, View
from jobs.contracts import Lane
from jobs.domain import Domain, WarmPlan
from jobs.progress import JobState, Progress
from jobs.settings import load_settings
from jobs.stoker import Stoker
from jobs.tables import audit_log, cache_events
from jobs.tasks import relay
from tests.callers import OPERATOR, OSCAR, VIEWER
from tests.place import Place
from worker.api import create_app
from worker.embedded import Urls
from worker.engine import depth
from worker.migrate import migrate
from worker.settings import WorkerSettings

NOWHERE = "redis://127.0.0.1:1"


async def load(_: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    return {key: {"shelf": key.scope.id} for key in keys}


async def no_entries(_: AsyncSession, __: Scope | None) -> Sequence[EntryKey]:
    return []


LIBRARY = Domain(
    name="library",
    scopes=(ScopeKind("shelf"), ScopeKind("branch", str)),
    views=(
        View("labels", "shelf", load, access=Access.ANYONE),
        View("map", "shelf", load, access=Access.ANYONE),
    ),
    rules=(),
    warm_plans=(WarmPlan("active", no_entries), WarmPlan("shelf", no_entries)),
)


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def settings(place: Place) -> WorkerSettings:
    hashed = {"name": "eve", "role": "viewer", "sha256": sha256(VIEWER)}
    # On a busy machine a server that is well may take longer than 0.8 s.
    return place.settings(api={"probe_timeout_s": 30, "tokens": [hashed, OSCAR]})


@asynccontextmanager
async def served(
    settings: WorkerSettings, token: str | None
) -> AsyncIterator[tuple[httpx.AsyncClient, Stoker]]:
    await migrate(settings.database_url.get_secret_value() if settings.database_url else "", None)
    async with Stoker.opened(settings, LIBRARY) as stoker:
        transport = httpx.ASGITransport(create_app(stoker, settings), client=("127.0.0.1", 40000))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", headers=headers
        ) as client:
            yield client, stoker


@pytest.fixture
async def opened(settings: WorkerSettings) -> AsyncIterator[tuple[httpx.AsyncClient, Stoker]]:
    async with served(settings, OPERATOR) as both:
        yield both


@pytest.fixture
def api(opened: tuple[httpx.AsyncClient, Stoker]) -> httpx.AsyncClient:
    return opened[0]


@pytest.fixture
def stoker(opened: tuple[httpx.AsyncClient, Stoker]) -> Stoker:
    return opened[1]


async def audited(stoker: Stoker) -> list[tuple[str, str, Any]]:
    columns = audit_log.c
    query = select(columns.actor, columns.action, columns.arguments).order_by(columns.id)
    async with stoker.engine.connect() as connection:
        return [(actor, action, arguments) for actor, action, arguments in await connection.execute(query)]


async def test_an_invalidation_is_recorded_followed_and_applied(
    api: httpx.AsyncClient, stoker: Stoker
) -> None:
    await stoker.read("labels", 7)
    assert (await stoker.read("labels", 7)).state == "hit"
    answer = await api.post("/api/cache/invalidate", json={"kind": "shelf", "id": 7, "views": ["labels"]})
    assert answer.status_code == 202
    status = answer.json()["status_url"]
    assert answer.headers["location"] == status
    assert (await api.get(status)).json()["state"] == "pending"

    await relay.apply_all(stoker)

    progress = (await api.get(status)).json()
    assert (progress["state"], progress["id"]) == ("applied", answer.json()["id"])
    assert (await stoker.read("labels", 7)).state == "miss"


async def test_an_invalidation_is_audited_with_the_tokens_name(
    api: httpx.AsyncClient, stoker: Stoker
) -> None:
    await api.post("/api/cache/invalidate", json={"kind": "shelf", "id": "7", "hard": True})
    assert await audited(stoker) == [
        ("oscar", "cache.invalidate", {"scope": "shelf:7", "views": [], "hard": True})
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "shelve", "id": 7}, "kind"),
        ({"kind": "shelf", "id": "seven"}, "id"),
        ({"kind": "shelf", "id": -1}, "id"),
        ({"kind": "shelf", "id": 2**63}, "id"),
        ({"kind": "shelf", "id": True}, "id"),
        ({"kind": "shelf", "id": "7", "views": ["lables"]}, "views"),
        ({"kind": "branch", "id": "north", "views": ["labels"]}, "views"),
        ({"kind": "shelf", "id": "7", "views": []}, "views"),
        ({"kind": "shelf", "id": "7", "hard": "maybe"}, "hard"),
        ({"kind": "shelf"}, "id"),
        ({"kind": "shelf", "id": 7, "colour": "red"}, "colour"),
        ([], "body"),
    ],
)
async def test_an_invalidation_that_cannot_be_is_refused_with_its_field(
    api: httpx.AsyncClient, stoker: Stoker, body: object, field: str
) -> None:
    answer = await api.post("/api/cache/invalidate", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"].split(".")[0] == field
    assert set(answer.json()) == {"error", "message", "field"}
    async with stoker.engine.connect() as connection:
        assert (await connection.execute(select(cache_events.c.id))).all() == []


async def test_a_body_that_is_no_json_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/api/cache/invalidate", content=b'{"kind": ', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["field"]) == (422, "body")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_refused_before_it_is_read(api: httpx.AsyncClient, *, chunked: bool) -> None:
    body = json.dumps({"kind": "shelf", "id": "7", "views": ["x" * 70_000]}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    answer = await api.post(
        "/api/cache/invalidate",
        content=chunks() if chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/cache/invalidate/999", 404),
        ("/api/cache/invalidate/0", 422),
        ("/api/cache/invalidate/99999999999999999999", 422),
        ("/api/cache/warm/unheard-of", 404),
        ("/api/cache/warm/with%20space", 422),
        ("/api/nothing", 404),
    ],
)
async def test_what_is_not_there_is_said_in_the_same_shape(
    api: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await api.get(path)
    assert answer.status_code == status
    assert {"error", "message"} <= set(answer.json())


async def test_a_warming_is_enqueued_in_its_lane_and_can_be_followed(
    api: httpx.AsyncClient, stoker: Stoker
) -> None:
    answer = await api.post("/api/cache/warm", json={"target": "shelf", "id": 7})
    assert answer.status_code == 202
    job_id, status = answer.json()["id"], answer.json()["status_url"]
    assert (await api.get(status)).json()["state"] == "queued"
    assert (await depth.depth(stoker.queue))[Lane.WARM].ready == 1

    progress = Progress(stoker.queue.redis, stoker.queue.settings)
    await progress.report(job_id, 3, 10)
    assert (await api.get(status)).json()["done"] == 3
    await progress.finish(job_id, JobState.DONE)
    assert (await api.get(status)).json()["state"] == "done"
    assert await audited(stoker) == [("oscar", "cache.warm", {"target": "shelf", "scope_id": "7"})]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"target": "branch", "id": "north"}, "target"),
        ({"target": "shelf"}, "id"),
        ({"target": "shelf", "id": "seven"}, "id"),
        ({"target": "active", "id": 7}, "id"),
    ],
)
async def test_a_warming_that_cannot_be_is_refused_with_its_field(
    api: httpx.AsyncClient, body: object, field: str
) -> None:
    answer = await api.post("/api/cache/warm", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_stats_tell_hits_misses_by_cause_and_what_is_unsettled(
    api: httpx.AsyncClient, stoker: Stoker
) -> None:
    for _ in range(4):
        await stoker.read("labels", 7)
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    await api.post("/api/cache/invalidate", json={"kind": "shelf", "id": 7})
    found = (await api.get("/api/cache/stats")).json()
    labels = found["views"]["labels"]
    assert (labels["reads"], labels["hits"], labels["hit_rate"]) == (4, 3, 0.75)
    assert labels["misses"] == {"cold": 1}
    assert found["views"]["map"]["hit_rate"] is None
    assert found["changes"]["unsettled"] == 1


async def test_queues_and_dead_jobs_are_listed_without_payloads(
    api: httpx.AsyncClient, stoker: Stoker
) -> None:
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO dead_jobs (job_id, lane, kind, payload, reason, error, fingerprint, attempts)"
                " SELECT 'job' || n, 'warm', 'warm.v1', '{\"secret\": 1}', 'failed', 'boom', 'f', 5"
                " FROM generate_series(1, 3) n"
            )
        )
    lanes = (await api.get("/api/jobs/queues")).json()["lanes"]
    assert set(lanes) == {"changes", "refresh", "warm"}
    assert (lanes["warm"]["dead"], lanes["warm"]["ready"], lanes["warm"]["paused"]) == (3, 0, False)
    first = (await api.get("/api/jobs/dead", params={"limit": 2})).json()["dead"]
    assert [job["job_id"] for job in first] == ["job3", "job2"]
    rest = (await api.get("/api/jobs/dead", params={"before": first[-1]["id"]})).json()["dead"]
    assert [job["job_id"] for job in rest] == ["job1"]
    assert "secret" not in json.dumps(first + rest)
    assert (await api.get("/api/jobs/dead", params={"limit": 0})).json()["field"] == "limit"


async def test_health_says_how_fast_each_server_answers(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/cache/health")
    assert answer.status_code == 200
    assert {name: server["ok"] for name, server in answer.json()["servers"].items()} == {
        "database": True,
        "queue": True,
        "cache": True,
    }


@pytest.mark.parametrize(("role", "url"), [("queue", "redis_url"), ("cache", "cache_redis_url")])
async def test_health_names_the_redis_that_is_down(settings: WorkerSettings, role: str, url: str) -> None:
    broken = settings.model_copy(
        update={url: load_settings(WorkerSettings, **{url: NOWHERE}).__getattribute__(url)}
    )
    async with served(broken, OPERATOR) as (api, _):
        answer = await api.get("/api/cache/health")
        assert answer.status_code == 503
        down = [name for name, server in answer.json()["servers"].items() if not server["ok"]]
        assert down == [role]
        metrics = (await api.get("/metrics")).text
        assert f'stoker_server_up{{server="{role}"}} 0.0' in metrics


async def test_without_the_queue_a_warming_is_503_and_an_invalidation_is_recorded(
    settings: WorkerSettings,
) -> None:
    broken = settings.model_copy(
        update={"redis_url": load_settings(WorkerSettings, redis_url=NOWHERE).redis_url}
    )
    async with served(broken, OPERATOR) as (api, _):
        warm = await api.post("/api/cache/warm", json={"target": "active"})
        assert (warm.status_code, warm.json()["error"]) == (503, "queue_unavailable")
        assert (await api.post("/api/cache/invalidate", json={"kind": "shelf", "id": 7})).status_code == 202


async def test_metrics_are_what_prometheus_reads(api: httpx.AsyncClient, stoker: Stoker) -> None:
    await stoker.read("labels", 7)
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    answer = await api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'stoker_cache_reads_total{result="miss",view="labels"} 1.0' in answer.text
    assert 'stoker_lane_jobs{lane="changes",state="ready"} 0.0' in answer.text
    assert "stoker_events_unsettled 0.0" in answer.text


ACTIONS = ["/api/cache/invalidate", "/api/cache/warm"]
LOOKS = ["/api/cache/stats", "/api/cache/health", "/api/jobs/queues", "/api/jobs/dead", "/metrics"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwdw==",
        f"Token {OPERATOR}",
        f"Bearer {OPERATOR} x",
        "Bearer nobody",
    ],
)
async def test_without_a_token_that_somebody_has_everything_is_401(
    settings: WorkerSettings, header: str | None
) -> None:
    async with served(settings, None) as (api, stoker):
        headers = {} if header is None else {"Authorization": header}
        for path in LOOKS:
            answer = await api.get(path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        for path in ACTIONS:
            body = {"kind": "shelf", "id": 7}
            assert (await api.post(path, headers=headers, json=body)).status_code == 401, path
        assert await audited(stoker) == []


async def test_a_viewer_looks_and_cannot_act(settings: WorkerSettings) -> None:
    async with served(settings, VIEWER) as (api, stoker):
        for path in LOOKS:
            assert (await api.get(path)).status_code == 200, path
        for path, body in zip(ACTIONS, ({"kind": "shelf", "id": 7}, {"target": "active"}), strict=True):
            answer = await api.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), path
        assert await audited(stoker) == []


async def test_without_tokens_only_this_machine_is_served(settings: WorkerSettings) -> None:
    alone = settings.model_copy(update={"api": load_settings(WorkerSettings).api})
    async with served(alone, None) as (api, stoker):
        assert (await api.get("/api/jobs/queues")).status_code == 200
        evil = {"Origin": "https://evil.example"}
        body = {"kind": "shelf", "id": 7}
        assert (await api.post("/api/cache/invalidate", json=body, headers=evil)).status_code == 403
        rebound = {"Host": "evil.example"}
        assert (await api.get("/api/jobs/queues", headers=rebound)).status_code == 403
        transport = httpx.ASGITransport(create_app(stoker, alone), client=("192.0.2.1", 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as stranger:
            assert (await stranger.get("/api/jobs/queues")).status_code == 403


async def test_the_api_describes_itself(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/api/openapi.json")).json()["paths"]
    assert {"/api/cache/invalidate", "/api/cache/warm/{id}", "/metrics"} <= set(paths)


async def test_postgres_down_is_named_and_answered_quickly(
    settings: WorkerSettings, server_urls: Urls
) -> None:
    del server_urls
    async with served(settings, OPERATOR) as (api, stoker):
        await stoker.engine.dispose()
        # The connections now lead nowhere, as when Postgres is gone.
        stoker.engine.sync_engine.dialect.connect = _refuse  # type: ignore[method-assign]
        health = await api.get("/api/cache/health")
        assert (health.status_code, health.json()["servers"]["database"]["ok"]) == (503, False)
        stats = await api.get("/api/cache/stats")
        assert (stats.status_code, stats.json()["error"]) == (503, "database_unavailable")


def _refuse(*_: object, **__: object) -> NoReturn:
    raise ConnectionRefusedError("nobody listens")
