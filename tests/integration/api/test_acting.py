"""Invalidating and warming through the API: recorded, audited, followed, and refused with a reason."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import select

from stoker.handlers import relay
from stoker.jobs import Lane
from stoker.queue.progress import JobState, Progress
from stoker.stoker import Stoker
from stoker.tables import cache_events
from stoker.worker.engine import depth
from tests.integration.api.library import audited
from tests.support.callers import VIEWER


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


async def test_a_job_is_enqueued_audited_and_refused_with_its_field(
    api: httpx.AsyncClient, stoker: Stoker
) -> None:
    asked = {"kind": "refresh.v1", "arguments": {"view": "labels", "scope_id": "7"}, "delay_s": 60}
    answer = await api.post("/api/jobs", json=asked)
    assert (answer.status_code, answer.json()["answer"]) == (202, "enqueued")
    assert await stoker.queue.is_open(answer.json()["job_id"])
    job_id = answer.json()["job_id"]
    assert await audited(stoker) == [("oscar", "job.enqueue", {"kind": "refresh.v1", "job_id": job_id})]
    for wrong, field in (
        ({"kind": "refersh.v1"}, "kind"),
        ({"kind": "refresh.v1"}, "arguments"),
        ({**asked, "arguments": {"view": "labels", "scope_id": "7", "params": "no"}}, "params"),
        ({**asked, "delay_s": -1}, "delay_s"),
        ({"kind": "prune.v1", "colour": "red"}, "colour"),
    ):
        refused = await api.post("/api/jobs", json=wrong)
        assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert len(await audited(stoker)) == 1


async def test_a_viewer_enqueues_no_job(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/api/jobs", json={"kind": "prune.v1"}, headers={"Authorization": f"Bearer {VIEWER}"}
    )
    assert answer.status_code == 403


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
    reported = (await api.get(f"/api/jobs/{job_id}")).json()["progress"]
    assert (reported["state"], reported["done"], reported["total"]) == ("running", 3, 10)
    await progress.finish(job_id, JobState.DONE)
    assert (await api.get(status)).json()["state"] == "done"
    said = {"target": "shelf", "scope_id": "7", "job_id": answer.json()["id"]}
    assert await audited(stoker) == [("oscar", "cache.warm", said)]


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
