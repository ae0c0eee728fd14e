"""The reference web app over HTTP: what it answers, to whom, and with which headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from stoker.embedded import Urls
from tests.support.projects_world import World, opened_world, settings
from worker.demo.webapp import app

EDGE = 2**63


@pytest.fixture
async def world(database_url: str, server_urls: Urls, prefix: str) -> AsyncIterator[World]:
    async with opened_world(settings(database_url, server_urls, prefix)) as world:
        yield world


@pytest.fixture
async def web(world: World) -> AsyncIterator[httpx.AsyncClient]:
    app.state.stoker = world.stoker
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
        yield client


def by(user: int, **headers: str) -> dict[str, str]:
    return {"X-User": str(user), **headers}


async def get(web: httpx.AsyncClient, path: str, user: int, **headers: str) -> httpx.Response:
    return await web.get(path, headers=by(user, **headers))


async def test_every_view_is_built_once_then_served_from_the_cache(
    world: World, web: httpx.AsyncClient
) -> None:
    paths = [f"/projects/{world.alpha}{rest}" for rest in ("", "/dashboard", "/export", "/export?format=csv")]
    paths += ["/users/me/projects", "/users/me/projects?status=draft&limit=5", "/users/me/stats"]
    for path in [*paths, "/users/me/search?q=oximeter"]:
        first, second = await get(web, path, world.ann), await get(web, path, world.ann)
        assert first.status_code == second.status_code == 200, path
        assert [first.headers["x-cache"], second.headers["x-cache"]] == ["miss", "hit"], path
        assert first.content == second.content
        assert second.headers["cache-control"] == "private, no-cache"
        assert int(second.headers["age"]) >= 0
        bypassed = await get(web, f"{path}{'&' if '?' in path else '?'}bypass=1", world.ann)
        assert (bypassed.headers["x-cache"], bypassed.content) == ("bypass", first.content), path


async def test_a_known_version_is_304_and_never_for_a_removed_member(
    world: World, web: httpx.AsyncClient
) -> None:
    path = f"/projects/{world.alpha}/dashboard"
    etag = (await get(web, path, world.cid)).headers["etag"]
    known = {"If-None-Match": f'W/"other", {etag}'}
    current = await get(web, path, world.cid, **known)
    assert (current.status_code, current.content, current.headers["etag"]) == (304, b"", etag)
    removed = await web.delete(f"/projects/{world.alpha}/members/{world.cid}", headers=by(world.ann))
    assert removed.status_code == 200
    refused = await get(web, path, world.cid, **known)
    assert refused.status_code == 403
    assert "etag" not in refused.headers


async def test_a_write_answers_its_revision_and_who_waits_is_told_what_became_of_it(
    world: World, web: httpx.AsyncClient
) -> None:
    path = f"/projects/{world.alpha}"
    answer = await web.patch(path, headers=by(world.ann), json={"name": "Renamed"})
    wrote = answer.json()
    assert wrote["applied"] is None
    assert wrote["project_id"] == wrote["id"] == world.alpha
    assert {"detail", "list"} < set(wrote["shown_by"])
    shown = (await get(web, f"{path}?bypass=1", world.ann)).json()
    assert (shown["name"], shown["revision"]) == ("Renamed", wrote["revision"])
    # No worker runs here: it is committed and not applied.
    waited = await web.patch(f"{path}?wait=1", headers=by(world.ann), json={"status": "completed"})
    assert waited.json()["applied"] == "pending"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (("GET /projects/{alpha}", "dot", None), (403, None)),
        (("GET /projects/{alpha}/dashboard", "dot", None), (403, None)),
        (("GET /projects/999/export", "ann", None), (404, None)),
        ((f"GET /projects/{EDGE}", "ann", None), (422, "id")),
        (("GET /projects/{alpha}/export?format=pdf", "ann", None), (422, "format")),
        (("GET /projects/{alpha}?colour=red", "ann", None), (422, "params")),
        (("GET /users/me/projects?limit=101", "ann", None), (422, "limit")),
        (("GET /users/me/projects?offset=-1", "ann", None), (422, "offset")),
        (("GET /users/me/search", "ann", None), (422, "query")),
        (("PATCH /projects/{alpha}", "cid", {"name": "Mine"}), (403, None)),
        (("DELETE /projects/{alpha}", "ben", None), (403, None)),
        (("DELETE /projects/{alpha}/predicates/999", "ann", None), (404, None)),
        (("POST /projects/{alpha}/members/{ben}/viewer", "ann", None), (422, "user_id")),
    ],
)
async def test_what_cannot_be_is_refused_as_json(
    world: World, web: httpx.AsyncClient, asked: tuple[str, str, Any], answered: tuple[int, str | None]
) -> None:
    request_line, user, body = asked
    method, path = request_line.format(alpha=world.alpha, ben=world.ben).split(" ", 1)
    answer = await web.request(method, path, headers=by(getattr(world, user)), json=body)
    assert (answer.status_code, answer.json().get("field")) == answered, answer.text
    assert answer.json()["message"]


async def test_everything_in_a_project_can_be_written(world: World, web: httpx.AsyncClient) -> None:
    headers = by(world.ann)
    made = (await web.post("/projects", headers=headers, json={"name": "New", "device_type": "Cuff"})).json()
    root = f"/projects/{made['id']}"
    bodies: dict[str, dict[str, Any]] = {
        "classifications": {
            "device_class": "II",
            "product_code": "DQA",
            "regulation_number": "870.2700",
            "confidence": 0.9,
        },
        "predicates": {"k_number": "K041234", "device_name": "Onyx", "similarity": 0.8},
        "documents": {"title": "Test", "kind": "test_report", "size_bytes": 1},
        "interactions": {"agent": "classifier", "summary": "Class II"},
    }
    items = {}
    for kind, body in bodies.items():
        answer = await web.post(f"{root}/{kind}", headers=headers, json=body)
        assert answer.status_code == 201, answer.text
        items[kind] = answer.json()["id"]
    writes: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PATCH", f"/classifications/{items['classifications']}", {"confidence": 0.5}),
        ("PATCH", f"/predicates/{items['predicates']}", {"selected": True}),
        *(("DELETE", f"/{kind}/{item}", None) for kind, item in items.items()),
        ("POST", f"/members/{world.ben}/viewer", None),
        ("PUT", f"/members/{world.ben}/editor", None),
        ("PUT", f"/owner/{world.ben}", None),
    ]
    for method, path, change in writes:
        answer = await web.request(method, root + path, headers=headers, json=change)
        assert answer.status_code in {200, 201}, (path, answer.text)
    gone = await web.delete(root, headers=by(world.ben))
    assert gone.status_code == 200
    assert (await get(web, root, world.ben)).status_code == 404


async def test_a_request_without_a_user_is_refused(web: httpx.AsyncClient) -> None:
    assert (await web.get("/projects/1")).status_code == 422
    assert (await web.get("/health")).json() == {"ok": True}
