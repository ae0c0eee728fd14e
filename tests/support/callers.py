"""Who calls the API in tests: a viewer and an operator with tokens, by program or from the console's page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from stoker.api import create_app
from stoker.settings import Settings
from stoker.stoker import Stoker

VIEWER, OPERATOR = "viewer-token-0123456789", "operator-token-0123456789"
EVE = {"name": "eve", "role": "viewer", "token": VIEWER}
OSCAR = {"name": "oscar", "role": "operator", "token": OPERATOR}
TOKENS = (EVE, OSCAR)
"""As the settings take them."""
HOST = "console.example"
FROM_PAGE = {"X-Stoker-Console": "1", "Origin": f"http://{HOST}"}
"""What the console's own page sends with whatever it asks."""


def bearing(token: str | None) -> dict[str, str]:
    """The header that carries a token; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}


@asynccontextmanager
async def client(
    stoker: Stoker,
    settings: Settings,
    token: str | None = None,
    *,
    at: str = HOST,
    address: str = "192.0.2.7",
) -> AsyncIterator[httpx.AsyncClient]:
    """The API of an open Stoker, called `at` a host from an address."""
    transport = httpx.ASGITransport(create_app(stoker, settings), client=(address, 40000))
    url = f"http://{at}"
    async with httpx.AsyncClient(transport=transport, base_url=url, headers=bearing(token)) as opened:
        yield opened


async def sign_in(page: httpx.AsyncClient, token: str = OPERATOR) -> httpx.Response:
    """Sign in to the console."""
    return await page.post("/api/session", json={"token": token}, headers=FROM_PAGE)
