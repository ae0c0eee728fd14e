"""Texts that no database can hold, and jobs that somebody else enqueued: an answer, never a 5xx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from stoker.api import create_app
from stoker.jobs import Lane
from stoker.migrate import migrate
from stoker.queue import wire
from stoker.settings import Settings
from stoker.stoker import Stoker
from tests.integration.test_api_contract import BODIES, ENDLESS, QUERIES, filled
from tests.library import domain
from tests.support.callers import OPERATOR, OSCAR, bearing
from tests.support.place import Place

BEARER = bearing(OPERATOR)
JSON = {"Content-Type": "application/json"}
HOSTILE = ["\0", "a\0b", "\ud800", "a\udfff", "\u202e", "\uffff", "'; --", "%", "\\"]
IN_URLS = ["%00", "a%00b", "%ED%A0%80", "%FF", "%E2%80%AE", "%27;--", "%25", "%5C"]


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    settings = place.settings(
        api={
            "actions_per_minute": 10**6,
            "reads_per_minute": 10**6,
            "sign_ins_per_minute": 10**6,
            "tokens": [OSCAR],
        }
    )
    await migrate(place.database_url, domain)
    async with Stoker.opened(settings, domain) as opened:
        yield opened


@pytest.fixture
async def api(stoker: Stoker) -> AsyncIterator[httpx.AsyncClient]:
    assert isinstance(stoker.settings, Settings)
    transport = httpx.ASGITransport(create_app(stoker, stoker.settings), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://console.example") as opened:
        yield opened


def parameters(paths: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every request with one hostile parameter, in the path or the query."""
    for path, item in paths.items():
        for method, operation in item.items():
            for one in operation.get("parameters", ()) if path != ENDLESS else ():
                for value in IN_URLS:
                    url = path.replace(f"{{{one['name']}}}", value)
                    if one["in"] == "query":
                        query = {**QUERIES.get(path, {}), one["name"]: "HOSTILE"}
                        url += f"?{httpx.QueryParams(query)}".replace("HOSTILE", value)
                    yield method, filled(url)


def bodies(paths: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every request whose body is right but for one hostile field, in a list too, or one hostile name."""
    for path, item in paths.items():
        for method, operation in item.items():
            if "requestBody" not in operation:
                continue
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            right: Any = BODIES[path]
            for value in HOSTILE:
                yield method, filled(path), {**right, value: 1}
                for field in schemas[schema["$ref"].rpartition("/")[2]]["properties"]:
                    others = {} if right == {"all": True} else right
                    yield method, filled(path), {**others, field: value}
                    yield method, filled(path), {**others, field: [value]}


async def test_no_text_in_any_parameter_is_a_server_error(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/api/openapi.json")).json()["paths"]
    asked = list(parameters(paths))
    answers = {one: (await api.request(*one, headers=BEARER)).status_code for one in asked}
    assert {one: status for one, status in answers.items() if status >= 500} == {}
    assert len(asked) > 200
    assert {200, 404, 422} <= set(answers.values()), "questions got through to the database, and were refused"


async def test_no_text_in_any_body_is_a_server_error(api: httpx.AsyncClient) -> None:
    found = (await api.get("/api/openapi.json")).json()
    failed, answers = [], set()
    for method, path, body in bodies(found["paths"], found["components"]["schemas"]):
        # Escaped, as a client may: not every one of these has bytes of its own.
        answer = await api.request(method, path, content=json.dumps(body), headers={**BEARER, **JSON})
        answers.add(answer.status_code)
        if answer.status_code >= 500:
            failed.append((method, path, body))
    assert failed == []
    assert {200, 401, 422} <= answers


async def test_a_forged_cookie_of_any_bytes_is_refused(stoker: Stoker, api: httpx.AsyncClient) -> None:
    for signature in (b"\xe9", b"\xff" * 64, b"", b"0" * 64):
        forged = f"stoker_{stoker.installation}=oscar:9999999999:ab:".encode() + signature
        answer = await api.get("/api/overview", headers=[(b"cookie", forged)])
        assert answer.status_code == 401, signature
        nobody = await api.get("/api/session", headers=[(b"cookie", forged)])
        assert nobody.json()["signed_in"] is False, signature


async def test_an_origin_that_cannot_be_read_is_a_foreign_one(api: httpx.AsyncClient) -> None:
    for origin in ("http://[", "http://[::1", "null", "//", "http://console.example."):
        answer = await api.post("/api/session", json={"token": OPERATOR}, headers={"Origin": origin})
        assert answer.status_code == 403, origin


FOREIGN = [
    ("\\ud800", "{}"),
    ("\\u0000", "{}"),
    ("x" * 65, "{}"),
    ("later.v1", '{"x":"\\ud800"}'),
    ("later.v1", '{"\\udfff":"\\u0000"}'),
    ("later.v1", '{"x":NaN}'),
    ("later.v1", '{"x":1e400}'),
    ("later.v1", '{"x":' + "[" * 90 + "]" * 90 + "}"),
    ("later.v1", '{"x":' + "[" * 900 + "]" * 900 + "}"),
    ("refresh.v1", '{"view":"shelf","scope_id":"\\ud800"}'),
    ("invalidate.v1", '{"scope_kind":"\\ud800","scope_id":"\\ud800"}'),
]
"""Kinds and arguments, as some other program may spell them in JSON."""


async def test_jobs_of_a_foreign_producer_can_be_listed(
    stoker: Stoker, api: httpx.AsyncClient, prefix: str
) -> None:
    ids = {f"{prefix}-{number}": one for number, one in enumerate(FOREIGN)}
    for job_id, (kind, arguments) in ids.items():
        raw = f'{{"t":null,"f":"{kind}","a":[{arguments}],"k":{{}},"et":1}}'
        await stoker.queue.redis.set(f"arq:job:{job_id}", raw, px=60_000)
    lane = wire.queue_name(stoker.queue.settings, Lane.WARM)
    await stoker.queue.redis.zadd(lane, dict.fromkeys(ids, 1))
    listed = await api.get("/api/jobs?state=ready", headers=BEARER)
    assert {job["job_id"] for job in listed.json()["live"]} == set(ids)
    for path in [*(f"/api/jobs/{job_id}" for job_id in ids), "/api/overview", "/metrics"]:
        assert (await api.get(path, headers=BEARER)).status_code == 200, (path, ids.get(path[10:]))
