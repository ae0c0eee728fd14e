"""A console with tokens on real servers, and Chromium in front of it.

One Chromium serves all tests of this folder, each in a window of its own; so they share an event loop.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from stoker.settings import Settings
from stoker.stoker import Stoker
from tests.browser.site import Site
from tests.support.callers import TOKENS
from tests.support.notes import Notes
from tests.support.place import Place

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(cache={"stats_flush_s": 0.2}, api={"tokens": TOKENS})


@pytest_asyncio.fixture(loop_scope="package")
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        found = Site(stoker, settings)
        await found.start()
        yield found
        await found.stop()


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        with suppress(Exception):  # it may have gone by itself
            await browser.close()
