"""Who may ask the API what."""

from __future__ import annotations

import pytest

from stoker.settings import Settings, load_settings
from tests.integration.api.library import audited, served
from tests.support.callers import OPERATOR, VIEWER

ACTIONS = ["/api/cache/invalidate", "/api/cache/warm"]
READS = ["/api/cache/stats", "/api/cache/health", "/api/jobs/queues", "/api/jobs/dead", "/metrics"]


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
        for path in READS:
            answer = await api.get(path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        for path in ACTIONS:
            body = {"kind": "shelf", "id": 7}
            assert (await api.post(path, headers=headers, json=body)).status_code == 401, path
        assert {action for _, action, _ in await audited(stoker)} <= {"token.refused"}


async def test_a_viewer_reads_and_cannot_act(settings: Settings) -> None:
    async with served(settings, VIEWER) as (api, stoker):
        for path in READS:
            assert (await api.get(path)).status_code == 200, path
        for path, body in zip(ACTIONS, ({"kind": "shelf", "id": 7}, {"target": "active"}), strict=True):
            answer = await api.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), path
        assert await audited(stoker) == []


async def test_without_any_token_this_machine_is_served_nothing_either(settings: Settings) -> None:
    alone = settings.model_copy(update={"api": load_settings().api})
    async with served(alone, None) as (api, _):
        for path in READS:
            assert (await api.get(path)).status_code == 401, path
        body = {"kind": "shelf", "id": 7}
        assert (await api.post("/api/cache/invalidate", json=body)).status_code == 401
        assert (await api.get("/healthz")).status_code == 200
