"""A Stoker with a viewer's and an operator's token, and what an operator asks it from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from stoker.settings import Settings
from stoker.stoker import Stoker
from tests.support.callers import OPERATOR, TOKENS, client
from tests.support.notes import Notes
from tests.support.place import Place


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(queue={"timeout_s": 20}, api={"tokens": TOKENS})


@pytest.fixture
async def stoker(settings: Settings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as opened:
        yield opened


@pytest.fixture
async def operator(stoker: Stoker, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with client(stoker, settings, OPERATOR) as opened:
        yield opened
