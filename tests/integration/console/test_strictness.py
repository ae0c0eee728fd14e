"""Reads by other sites, cached answers, unused sessions and endless guesses are all refused."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from stoker.api import create_app
from stoker.api.guesses import network
from stoker.operations import tokens
from stoker.operations.audit import Actor
from stoker.settings import Role, Settings, TokenSettings
from stoker.stoker import Stoker
from tests.support.callers import EVE, FROM_PAGE, HOST, OPERATOR, VIEWER, bearing, client, sign_in


def with_api(settings: Settings, **given: Any) -> Settings:  # noqa: ANN401 - of any setting
    api = type(settings.api)(**{**settings.api.model_dump(), **given})
    return settings.model_copy(update={"api": api})


@asynccontextmanager
async def over_tls(stoker: Stoker, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(stoker, settings), client=("192.0.2.7", 40000))
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as page:
        yield page


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        {"Origin": "http://evil.example"},
        {"Origin": f"http://{HOST}:9999"},
    ],
)
async def test_another_sites_page_reads_nothing_with_the_cookie(
    stoker: Stoker, settings: Settings, headers: dict[str, str]
) -> None:
    async with client(stoker, settings) as page:
        await sign_in(page, OPERATOR)
        for path in ("/api/overview", "/api/session", "/api/live", "/metrics"):
            assert (await page.get(path, headers=headers)).status_code == 403, path
        assert (await page.get("/api/overview", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 200


async def test_what_is_said_to_one_reader_is_kept_nowhere_and_nobody_is_sent_to_another_host(
    operator: httpx.AsyncClient,
) -> None:
    for path in ("/api/overview", "/api/session", "/api/nothing", "/metrics"):
        assert (await operator.get(path)).headers["cache-control"] == "no-store", path
    for path in ("/api/overview/", "/api/jobs/"):
        answer = await operator.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.headers.get("location")) == (404, None), path
    assert "strict-transport-security" not in (await operator.get("/")).headers


async def test_over_tls_the_cookie_is_this_hosts_alone_and_tls_stays_on(
    stoker: Stoker, settings: Settings
) -> None:
    async with over_tls(stoker, settings) as page:
        headers = {**FROM_PAGE, "Origin": f"https://{HOST}"}
        answer = await page.post("/api/session", json={"token": OPERATOR}, headers=headers)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"__Host-stoker_{stoker.installation}=")
        assert "; Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert (await page.get("/api/overview")).status_code == 200
        ((_, value),) = page.cookies.items()
        page.cookies.clear()
        planted = {"Cookie": f"stoker_{stoker.installation}={value}"}
        assert (await page.get("/api/overview", headers=planted)).status_code == 401


async def test_a_session_that_nobody_uses_ends_and_one_that_is_used_goes_on(
    stoker: Stoker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = 0.0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + later)
    unattended = {"X-Stoker-Unattended": "1"}
    async with client(stoker, with_api(settings, session_s=1000, session_idle_s=100)) as page:
        await sign_in(page, VIEWER)
        for later in (50.0, 100.0, 150.0):  # noqa: B007 - the clock reads it
            assert (await page.get("/api/overview")).status_code == 200
        kept = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
        later = 240.0
        assert (await page.get("/api/overview", headers=unattended)).status_code == 200
        later = 260.0
        assert (await page.get("/api/overview", headers=unattended)).status_code == 401
        later = 240.0
        assert (await page.get("/api/overview", headers={"Cookie": kept})).status_code == 200
        for later in (330.0, 420.0, 510.0, 600.0, 690.0, 780.0, 870.0, 960.0):  # noqa: B007 - the same
            assert (await page.get("/api/overview")).status_code == 200
        later = 1001.0
        assert (await page.get("/api/overview")).status_code == 401, "no use prolongs it past its time"


async def test_guesses_are_logged_counted_and_audited_by_network(
    stoker: Stoker, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    few = with_api(settings, sign_ins_per_minute=1)
    wrong = bearing("not-the-right-token")

    async def guess(address: str) -> int:
        async with client(stoker, few, address=address) as api:
            return (await api.get("/api/overview", headers=wrong)).status_code

    codes = [await guess(f"2001:db8:0:7::{number}") for number in range(8)]
    assert codes == [401] * 5 + [429] * 3, "one /64 is one caller"
    assert await guess("2001:db8:0:8::1") == 401
    assert await guess("192.0.2.1") == 401
    async with client(stoker, few, VIEWER, address="2001:db8:0:7::1") as api:
        assert (await api.get("/api/overview")).status_code == 200, "who has a token is served all the same"
        await api.get("/api/overview", headers=wrong)
        assert "stoker_api_tokens_refused_total 1.0" in (await api.get("/metrics")).text
    assert caplog.messages.count("api.token_refused") >= 1
    assert "not-the-right-token" not in caplog.text
    async with stoker.engine.connect() as connection:
        found = await connection.execute(
            text("SELECT actor, action, arguments, address FROM stoker.audit_log")
        )
        rows = [tuple(row) for row in found]
    assert len(rows) == 7, "those that the rate let through"
    assert rows[0] == ("nobody", "token.refused", {"where": "bearer"}, "2001:db8:0:7::0")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("what a proxy said", "what a proxy said"),
    ],
)
def test_addresses_of_one_network_count_together(address: str, counted: str) -> None:
    assert network(address) == counted


async def test_reading_is_limited_by_token(stoker: Stoker, settings: Settings) -> None:
    few = with_api(settings, reads_per_minute=8)
    async with client(stoker, few) as api:
        codes = [(await api.get("/api/tokens", headers=bearing(VIEWER))).status_code for _ in range(8)]
        assert codes == [403] * 5 + [429] * 3
        assert (await api.get("/api/tokens", headers=bearing(OPERATOR))).status_code == 200


async def test_a_token_ends_at_its_time_and_its_sessions_with_it(
    stoker: Stoker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "RELOAD_S", 0)
    given = await tokens.add(stoker, Actor("test"), "temp", Role.VIEWER, days=3)
    (listed,) = await tokens.list_tokens(stoker)
    assert listed.expires_at is not None
    assert timedelta(days=2.9) < listed.expires_at - datetime.now(UTC) < timedelta(days=3.1)
    async with client(stoker, settings) as page:
        assert (await page.get("/api/overview", headers=bearing(given))).status_code == 200
        assert (await sign_in(page, given)).status_code == 200
        async with stoker.engine.begin() as connection:
            await connection.execute(text("UPDATE stoker.api_tokens SET expires_at = now() - interval '1 s'"))
        assert (await page.get("/api/overview", headers=bearing(given))).status_code == 401
        assert (await page.get("/api/overview")).status_code == 401
    again = await tokens.add(stoker, Actor("test"), "temp", Role.VIEWER)  # its name is free
    async with client(stoker, settings, again) as api:
        assert (await api.get("/api/overview")).status_code == 200
    past = {**EVE, "expires_at": datetime.now(UTC) - timedelta(seconds=1)}
    assert tokens.Tokens([TokenSettings.model_validate(past)], stoker.engine).find(VIEWER) is None
