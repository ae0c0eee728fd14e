"""Who may ask the API what."""

from __future__ import annotations

import httpx
import pytest

from stoker.api import create_app
from stoker.settings import Settings, load_settings
from tests.integration.api.library import audited, served
from tests.support.callers import OPERATOR, VIEWER

ACTIONS = ["/api/cache/invalidate", "/api/cache/warm"]
LOOKS = ["/api/cache/stats", "/api/cache/health", "/api/jobs/queues", "/api/jobs/dead", "/metrics"]

FOREIGN = [
    "evil.example",
    "a{b.evil.example:18766",
    "a`b.evil.example",
    'a"b.evil.example',
    "evil.example:",
    "127.0.0.1:x",
    "127.0.0.1, evil.example",
    "127.0.0.1@evil.example",
    "evil.example/127.0.0.1",
    "[::1",
    "::1",
    "999.0.0.1",
    "",
    " ",
]
"""Hosts that are not this machine, some as a resolver takes them and a parser of URLs does not."""


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
    settings: Settings, header: str | None
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


async def test_a_viewer_looks_and_cannot_act(settings: Settings) -> None:
    async with served(settings, VIEWER) as (api, stoker):
        for path in LOOKS:
            assert (await api.get(path)).status_code == 200, path
        for path, body in zip(ACTIONS, ({"kind": "shelf", "id": 7}, {"target": "active"}), strict=True):
            answer = await api.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), path
        assert await audited(stoker) == []


async def test_without_tokens_only_this_machine_is_served(settings: Settings) -> None:
    alone = settings.model_copy(update={"api": load_settings().api})
    async with served(alone, None) as (api, stoker):
        assert (await api.get("/api/jobs/queues")).status_code == 200
        evil = {"Origin": "https://evil.example"}
        body = {"kind": "shelf", "id": 7}
        assert (await api.post("/api/cache/invalidate", json=body, headers=evil)).status_code == 403
        for host in FOREIGN:
            answer = await api.get("/api/jobs/queues", headers={"Host": host})
            assert answer.status_code == 403, host
        for host in ("localhost", "localhost:8080", "127.0.0.1", "127.0.0.2:1", "[::1]", "[::1]:8080"):
            assert (await api.get("/api/jobs/queues", headers={"Host": host})).status_code == 200, host
        transport = httpx.ASGITransport(create_app(stoker, alone), client=("192.0.2.1", 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as stranger:
            assert (await stranger.get("/api/jobs/queues")).status_code == 403
