"""The console as a browser meets it: the site, windows and pages, and something to see in every section."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, expect
from sqlalchemy import text

from stoker.cli.web import address, listening, serve
from stoker.handlers import relay
from stoker.history.job_rows import JobHistory
from stoker.outbox.record import InvalidationRequested
from stoker.prediction.contest import COUNTS, DEFAULT, NONE, PREDICTOR
from stoker.rules import Invalidation
from stoker.settings import ApiSettings, Settings
from stoker.stoker import Stoker
from stoker.warming.figures import ContenderFigures, LevelFigures, PredictionFigures
from stoker.warming.rows import Rows
from tests.integration.test_history import row
from tests.support.notes import SCHEMA, note

ON_ONE_LOOP = pytest.mark.asyncio(loop_scope="package")
"""For every test here: the browser that they share is on that loop."""
SECTIONS = ("overview", "jobs", "dead", "workers", "schedule", "cache?kind=note&id=7", "audit", "tokens")
PATIENCE_MS = 60_000

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Site:
    """A served console: can be stopped and started again at the same address."""

    stoker: Stoker
    settings: Settings
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
        """Stop serving and close every connection."""
        self._stop.set()
        if self._serving is not None:
            await self._serving

    async def execute(self, statement: str, **values: object) -> None:
        """Run a statement that Stoker does not know of."""
        async with self.stoker.engine.begin() as connection:
            await connection.execute(text(statement), values)


@asynccontextmanager
async def window(browser: Browser, **options: object) -> AsyncIterator[BrowserContext]:
    """A window of its own, with cookies of its own."""
    context = await browser.new_context(locale="en-GB", reduced_motion="reduce", **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context
    finally:
        # A handler of requests that is still at work would fail whichever test runs then.
        for page in context.pages:
            await page.unroute_all(behavior="ignoreErrors")
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


async def furnish(site: Site) -> None:
    """Something to see in every section."""
    for statement in (
        *SCHEMA,
        "INSERT INTO notes VALUES (7, 'seven')",
        "INSERT INTO note_members VALUES (7, 1)",
    ):
        await site.execute(statement)
    await site.stoker.read("detail", 7, reader=1)
    await site.stoker.read("mine", 1, reader=1)
    await change(site)
    await predicted(site, PREDICTOR)
    await bury(site, 3)
    await JobHistory(site.stoker.engine).add(
        [
            row(job_id="good", kind="refresh.v1", scope="note:7"),
            row(job_id="bad", failed=True, outcome="dead", error="ValueError: " + "long " * 60),
            row(job_id="again", failed=True, outcome="retried", error="boom", attempt=2),
        ]
    )
    await site.execute(
        "INSERT INTO stoker.audit_log (actor, action, arguments)"
        " VALUES ('oscar', 'cache.invalidate', '{\"scope\": \"note:7\", \"views\": []}')"
    )
    await site.execute(
        "INSERT INTO stoker.figure_history SELECT 60, date_trunc('minute', now()) - n * interval '1 minute',"
        " series, false, value * (n % 7 + 1) FROM generate_series(0, 50) n, (VALUES ('view:detail:hits', 90),"
        " ('view:detail:miss_cold', 3), ('lane:warm:done', 5), ('lane:warm:wait:0.05', 5)) "
        " AS s (series, value)"
    )


async def predicted(site: Site, in_force: str) -> None:
    """A worker has just planned, with this way of choosing in force."""
    rows = Rows(site.stoker.engine, "w1")
    await rows.hold()
    misses = {NONE: (100, 0), DEFAULT: (80, 300), COUNTS: (70, 300), PREDICTOR: (20, 150)}
    figures = PredictionFigures(
        in_force=in_force,
        why="of a test",
        held_back=None,
        budget_s=6,
        threshold=0.25,
        known_entries=1200,
        known_readers=40,
        may_be_warmed=300,
        allowed_s=6,
        spent_s=3.4,
        wasted_s=1.2,
        warmed=170,
        used=110,
        contest={
            name: ContenderFigures(misses=missed, missed_s=missed / 50, spent_s=warmed / 50)
            for name, (missed, warmed) in misses.items()
        },
        calibration=[LevelFigures(examples=1940, predicted=0.14, read=0.21, counts_as=0.209)],
    )
    await rows.planned(figures)


async def bury(site: Site, letters: int, error: str = "KeyError: boom") -> None:
    await site.execute(
        "INSERT INTO stoker.dead_jobs (job_id, lane, kind, payload, reason, error, fingerprint, attempts)"
        " SELECT 'dead' || n, 'warm', 'warm.v1', '{\"target\": \"active\"}', 'exhausted', :error,"
        " repeat('ab', 16), 5 FROM generate_series(1, :letters) n",
        letters=letters,
        error=error,
    )


async def change(site: Site) -> None:
    """A change as a web app makes one, applied as a worker applies it."""
    async with site.stoker.session() as session, session.begin():
        site.stoker.record(session, InvalidationRequested.of([Invalidation(note(7))]))
    await relay.apply_all(site.stoker)


async def actions(site: Site) -> list[str]:
    """What the audit log says of actions, in its order; signing in and out is none."""
    acted = "SELECT action FROM stoker.audit_log WHERE action NOT LIKE 'session.%' ORDER BY id"
    async with site.stoker.engine.connect() as connection:
        return list(await connection.scalars(text(acted)))


async def loaded(page: Page) -> None:
    """Wait until the section has what it asked for."""
    await page.locator(".status.live").wait_for()
    await page.locator("main .loading").first.wait_for(state="hidden")
    await page.locator("main [aria-busy]").first.wait_for(state="hidden")
