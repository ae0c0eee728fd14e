"""Signing in to the console, what a session may, and tokens that operators make there."""

from __future__ import annotations

import json

import httpx
import pytest

from stoker.errors import SettingsError
from stoker.settings import Settings, load_settings
from stoker.stoker import Stoker
from tests.support.callers import FROM_PAGE, HOST, OPERATOR, OSCAR, VIEWER, bearing, client, sign_in


async def test_a_session_reads_and_acts_as_its_token(stoker: Stoker, settings: Settings) -> None:
    async with client(stoker, settings) as page:
        assert (await page.get("/api/session")).json() == {
            "signed_in": False,
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
        assert [(entry["actor"], entry["action"]) for entry in entries] == [
            ("oscar", "cache.invalidate"),
            ("oscar", "session.begin"),
        ]


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
    stoker: Stoker, settings: Settings, headers: dict[str, str]
) -> None:
    async with client(stoker, settings) as page:
        await sign_in(page, OPERATOR)
        for method, path in (("POST", "/api/jobs/dead/discard"), ("DELETE", "/api/session")):
            answer = await page.request(method, path, headers=headers, json={"all": True})
            assert answer.status_code == 403, path
        entries = (await page.get("/api/audit")).json()["entries"]
        assert [entry["action"] for entry in entries] == ["session.begin"]


async def test_a_cookie_that_was_changed_ended_or_outlived_its_token_is_refused(
    stoker: Stoker, settings: Settings
) -> None:
    async with client(stoker, settings) as page:
        await sign_in(page, VIEWER)
        ((name, value),) = page.cookies.items()
        who, until, nonce, active, signature = value.split(":")
        forged = [
            f"oscar:{until}:{nonce}:{active}:{signature}",
            f"{who}:{int(until) + 9}:{nonce}:{active}:{signature}",
            f"{who}:{until}:{nonce}:{int(active) + 9}:{signature}",
            f"{who}:{until}:{nonce}:{active}:{'0' * 64}",
            f"{who}:{until}:{nonce}:{active}",
            f"{who}:{until}:{nonce}:x:{signature}",
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


async def test_a_dump_of_the_database_forges_no_session(stoker: Stoker, settings: Settings) -> None:
    """Names and hashes of tokens are in it: what signs the cookie must not be."""
    async with client(stoker, settings) as page:
        await sign_in(page, OPERATOR)
        (value,) = page.cookies.values()
        await stoker.queue.redis.delete(f"{stoker.queue.settings.prefix}:console_key")
    async with client(stoker, settings) as later:  # another process: this one has kept the key for a minute
        cookie = {"Cookie": f"stoker_{stoker.installation}={value}"}
        assert (await later.get("/api/overview", headers=cookie)).status_code == 401
        await sign_in(later, OPERATOR)
        assert (await later.get("/api/overview")).status_code == 200


async def test_guessing_is_limited_and_says_when_again_and_a_right_token_is_served(
    stoker: Stoker, settings: Settings
) -> None:
    """Guard: a token is looked up before the rate is checked, so nobody locks others of an address out."""
    async with client(stoker, settings) as page:
        answers = [await sign_in(page, "not-the-right-token") for _ in range(20)]
        assert [one.status_code for one in answers[:5]] == [401] * 5
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) > 0
        wrong = await page.get("/api/overview", headers=bearing("not-the-right-token"))
        assert wrong.status_code == 429, "guesses in headers count with those at sign-in"
        assert (await page.get("/api/overview", headers=bearing(VIEWER))).status_code == 200
        assert (await sign_in(page, OPERATOR)).status_code == 200


async def test_acting_is_limited_by_token(stoker: Stoker, settings: Settings) -> None:
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
    plain = await operator.get("/", headers={"Accept-Encoding": "identity"})
    assert plain.content == page.content
    assert plain.headers["etag"] != page.headers["etag"], "other bytes on the wire, another strong tag"
    assert (await operator.get("/console/../app.py")).status_code == 404
    assert "<script>" not in page.text
    assert "style=" not in page.text


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
        ("nobody", "token.refused"),  # the last request
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
    nobody = await operator.post("/api/tokens", json={"name": "nobody"})  # who gives wrong tokens
    assert (nobody.status_code, nobody.json()["field"]) == (422, "name")
    with pytest.raises(SettingsError, match="nobody"):
        load_settings(api={"tokens": [{**OSCAR, "name": "nobody"}]})
