"""What the API tells: figures, queues and health, also while a server is away."""

from __future__ import annotations

import json
from typing import NoReturn

import httpx
import pytest
from sqlalchemy import text

from stoker.embedded import Urls
from stoker.settings import Settings, load_settings
from stoker.stoker import Stoker
from tests.integration.api.library import served
from tests.support.callers import OPERATOR

NOWHERE = "redis://127.0.0.1:1"


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
                "INSERT INTO stoker.dead_jobs (job_id, lane, kind, payload, reason, error, fingerprint,"
                " attempts)"
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
async def test_health_names_the_redis_that_is_down(settings: Settings, role: str, url: str) -> None:
    broken = settings.model_copy(update={url: load_settings(**{url: NOWHERE}).__getattribute__(url)})
    async with served(broken, OPERATOR) as (api, _):
        answer = await api.get("/api/cache/health")
        assert answer.status_code == 503
        down = [name for name, server in answer.json()["servers"].items() if not server["ok"]]
        assert down == [role]
        metrics = (await api.get("/metrics")).text
        where = answer.json()["servers"][role]["address"]
        assert where == NOWHERE.removeprefix("redis://").partition("/")[0]
        assert f'stoker_server_up{{address="{where}",server="{role}"}} 0.0' in metrics


async def test_without_the_queue_a_warming_is_503_and_an_invalidation_is_recorded(
    settings: Settings,
) -> None:
    broken = settings.model_copy(update={"redis_url": load_settings(redis_url=NOWHERE).redis_url})
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


async def test_the_api_describes_itself(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/api/openapi.json")).json()["paths"]
    assert {"/api/cache/invalidate", "/api/cache/warm/{id}", "/metrics"} <= set(paths)


async def test_postgres_down_is_named_and_answered_quickly(
    settings: Settings, server_urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server_urls
    async with served(settings, OPERATOR) as (api, stoker):
        await stoker.engine.dispose()
        # New connections are refused, as when Postgres is gone.
        monkeypatch.setattr("asyncpg.connect", _refuse)
        health = await api.get("/api/cache/health")
        assert (health.status_code, health.json()["servers"]["database"]["ok"]) == (503, False)
        stats = await api.get("/api/cache/stats")
        assert (stats.status_code, stats.json()["error"]) == (503, "database_unavailable")


def _refuse(*_: object, **__: object) -> NoReturn:
    raise ConnectionRefusedError("nobody listens")
