"""A console with tokens on real servers, and Chromium in front of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright
from sqlalchemy import text

from jobs.settings import load_settings
from jobs.stoker import Stoker
from tests.notes import Notes
from worker.cli.web import address, listening, serve
from worker.settings import ApiSettings, WorkerSettings

VIEWER, OPERATOR = "viewer-token-0123456789", "operator-token-0123456789"
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
PATIENCE_MS = 20_000


@dataclass
class Site:
    """A served console: can be stopped and started again at the same address."""

    stoker: Stoker
    settings: WorkerSettings
    url: str = ""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, on the port of before if there was one."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        api = ApiSettings(**{**self.settings.api.model_dump(), "port": port})
        self._stop = asyncio.Event()
        ready = asyncio.Event()

        async def answer() -> None:
            with listening(api) as taken:
                self.url = address(taken)
                ready.set()
                await serve(self.stoker, self.settings, taken, self._stop)

        self._serving = asyncio.create_task(answer())
        await ready.wait()

    async def stop(self) -> None:
        """Hang up on everybody."""
        self._stop.set()
        if self._serving is not None:
            await self._serving

    async def execute(self, statement: str, **values: object) -> None:
        """Change the database behind everybody's back."""
        async with self.stoker.engine.begin() as connection:
            await connection.execute(text(statement), values)


@pytest.fixture
def settings(database_url: str, queue_url: str, cache_url: str, prefix: str) -> WorkerSettings:
    return load_settings(
        WorkerSettings,
        database_url=database_url,
        redis_url=queue_url,
        cache_redis_url=cache_url,
        queue={"prefix": prefix},
        cache={"prefix": prefix, "stats_flush_s": 0.2},
        api={
            "tokens": [
                {"name": "eve", "role": "viewer", "token": VIEWER},
                {"name": "oscar", "role": "operator", "token": OPERATOR},
            ]
        },
    )


@pytest.fixture
async def site(settings: WorkerSettings) -> AsyncIterator[Site]:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        found = Site(stoker, settings)
        await found.start()
        yield found
        await found.stop()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        with suppress(Exception):  # it may have gone by itself
            await browser.close()


@asynccontextmanager
async def window(browser: Browser, **options: object) -> AsyncIterator[BrowserContext]:
    """A window of its own, with cookies of its own."""
    context = await browser.new_context(locale="en-GB", reduced_motion="reduce", **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context
    finally:
        await context.close()


async def signed_in(context: BrowserContext, site: Site, token: str, place: str = "overview") -> Page:
    """A page of somebody who has just signed in by hand."""
    page = await context.new_page()
    await page.goto(f"{site.url}/#/{place}")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.locator(".status.live").wait_for()
    return page


@contextmanager
def complaints(page: Page) -> Iterator[list[str]]:
    """What the browser complains about meanwhile: scripts, policy, failed requests."""
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.append(str(error)))
    yield found
