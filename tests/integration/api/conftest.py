"""The API of the library, asked by an operator."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from stoker.settings import Settings
from stoker.stoker import Stoker
from tests.integration.api.library import served
from tests.support.callers import OPERATOR, OSCAR, VIEWER
from tests.support.place import Place


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def settings(place: Place) -> Settings:
    hashed = {"name": "eve", "role": "viewer", "sha256": sha256(VIEWER)}
    # On a busy machine a server that is well may take longer than 0.8 s.
    return place.settings(api={"probe_timeout_s": 30, "sign_ins_per_minute": 1000, "tokens": [hashed, OSCAR]})


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Stoker]]:
    async with served(settings, OPERATOR) as both:
        yield both


@pytest.fixture
def api(opened: tuple[httpx.AsyncClient, Stoker]) -> httpx.AsyncClient:
    return opened[0]


@pytest.fixture
def stoker(opened: tuple[httpx.AsyncClient, Stoker]) -> Stoker:
    return opened[1]
