"""Where a caller comes from: what a proxy says of it counts only if the settings name the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from stoker.cli.web import address, listening, serve
from stoker.errors import SettingsError
from stoker.migrate import migrate
from stoker.settings import load_settings
from stoker.stoker import Stoker
from tests.library import domain
from tests.support.callers import OPERATOR, OSCAR
from tests.support.place import Place

AT_ONCE = 5
"""Attempts of one address, by the lowest rate."""


@asynccontextmanager
async def served(place: Place, **api: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - settings
    """The API as `stoker api` serves it, with its own sockets; requests come from this machine."""
    await migrate(place.database_url, domain)
    settings = place.settings(api={"port": 0, "sign_ins_per_minute": 1, **api})
    stop = asyncio.Event()
    async with Stoker.opened(settings, domain) as stoker:
        with listening(settings.api) as taken:
            serving = asyncio.create_task(serve(stoker, settings, taken, stop))
            async with httpx.AsyncClient(base_url=address(taken)) as client:
                yield client
            stop.set()
            await serving


async def guesses(client: httpx.AsyncClient, header: str, *values: str) -> list[int]:
    return [
        (await client.post("/api/session", json={"token": "wrong"}, headers={header: value})).status_code
        for value in values
    ]


async def sign_in(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/api/session", json={"token": OPERATOR}, headers=headers)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_nobody_guesses_faster_by_naming_other_addresses(place: Place, header: str) -> None:
    """Guard: uvicorn's trust in this machine is off."""
    others = [f"192.0.2.{number}" for number in range(AT_ONCE + 3)]
    async with served(place, tokens=[OSCAR]) as client:
        assert await guesses(client, header, *others) == [401] * AT_ONCE + [429] * 3


async def test_nobody_writes_another_address_into_the_audit_log(place: Place) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}", "X-Forwarded-For": "192.0.2.9"}
    async with served(place, tokens=[OSCAR]) as client:
        await client.post("/api/jobs/lanes/warm/pause", headers=headers)
        (entry, *_) = (await client.get("/api/audit", headers=headers)).json()["entries"]
        assert entry["address"] == "127.0.0.1"
        assert "Secure" not in (await sign_in(client, **{"X-Forwarded-Proto": "https"})).headers["set-cookie"]


async def test_a_proxy_that_the_settings_name_is_believed_about_the_last_hop(place: Place) -> None:
    async with served(place, tokens=[OSCAR], trusted_proxies=["127.0.0.0/8"]) as client:
        others = [f"192.0.2.{number}" for number in range(AT_ONCE + 3)]
        assert await guesses(client, "X-Forwarded-For", *others) == [401] * len(others)
        forged = [f"{other}, 198.51.100.7" for other in others]
        assert await guesses(client, "X-Forwarded-For", *forged) == [401] * AT_ONCE + [429] * 3
        headers = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https"}
        assert "Secure" in (await sign_in(client, **headers)).headers["set-cookie"]
        acting = {**headers, "Authorization": f"Bearer {OPERATOR}"}
        await client.post("/api/jobs/lanes/warm/pause", headers=acting)
        (entry, *_) = (await client.get("/api/audit", headers=acting)).json()["entries"]
        assert entry["address"] == "203.0.113.5"
        # What such a proxy passes on may be of any length.
        long = {**acting, "X-Forwarded-For": "9" * 300}
        assert (await client.post("/api/jobs/lanes/warm/resume", headers=long)).is_success


@pytest.mark.parametrize("proxy", ["*", "proxy.example", "10.0.0.0/33", "10.1.2.3/8", ""])
def test_what_is_no_address_is_refused_as_a_proxy(proxy: str) -> None:
    with pytest.raises(SettingsError, match="trusted_proxies"):
        load_settings(api={"trusted_proxies": [proxy]})
