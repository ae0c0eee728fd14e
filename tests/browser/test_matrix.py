"""Every statement is true while a server is stopped, frozen or slow, or something else is broken.

The console in a browser, `stoker status`, /metrics and the alerts by Prometheus' own rules.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis
from sqlalchemy import make_url

from stoker import embedded
from stoker.chaos.link import Link, through, url_of_postgres
from stoker.cli import status
from stoker.errors import DatabaseUnavailable
from stoker.history.figures import FigureHistory
from stoker.history.presence import BEAT_S, Presence
from stoker.history.sampler import Sampler
from stoker.operations.picture import Overview
from stoker.rules import Invalidation
from stoker.settings import Settings
from stoker.stoker import Stoker
from tests.browser.matrix import DOWN, ROWS, Shown, Truth, check, is_as_expected, up_of
from tests.browser.site import ON_ONE_LOOP, Site, furnish, signed_in, window
from tests.support.callers import OPERATOR, TOKENS, bearing
from tests.support.freezing import frozen
from tests.support.notes import Notes, note
from tests.support.operations import needs
from tests.support.place import Place

pytestmark = [ON_ONE_LOOP, needs("promtool")]
DELAY_S = {"database": 0.06, "queue": 0.2, "cache": 0.2}
"""How long a packet of a slow server is on its way: an answer takes over a quarter of a second."""
PATIENCE_S = 120
READS = 20
CASES = {
    "nothing": Truth(),
    "worker killed": Truth(worker=False, alerts=frozenset({"StokerWorkerDown"})),
    "loaders failing": Truth(failed=READS, alerts=frozenset({"StokerReadsFail", "StokerLoadErrors"})),
    "cache full": Truth(full=True, alerts=frozenset({"StokerRedisFull"})),
    "database frozen": Truth(down=frozenset({"database"}), alerts=DOWN),
    "queue frozen": Truth(down=frozenset({"queue"}), alerts=DOWN),
    "cache frozen": Truth(down=frozenset({"cache"}), alerts=DOWN),
    "database stopped": Truth(down=frozenset({"database"}), alerts=DOWN),
    "queue stopped": Truth(down=frozenset({"queue"}), alerts=DOWN),
    "cache stopped": Truth(down=frozenset({"cache"}), alerts=DOWN),
    "database slow": Truth(slow=frozenset({"database"})),
    "queue slow": Truth(slow=frozenset({"queue"})),
    "cache slow": Truth(slow=frozenset({"cache"})),
}
SHORT = ("nothing", "loaders failing", "database frozen", "cache full")
"""Those of `make test`; the others are long."""


def server_of(case: str) -> tuple[str, str]:
    """The server of a case, and what happens to it."""
    server, _, what = case.partition(" ")
    return (server, what) if server in DELAY_S else ("", "")


@asynccontextmanager
async def site_of(case: str, place: Place, notes: Notes) -> AsyncIterator[Site]:
    """A site whose slow server, if there is one, is reached by a link that delays packets from now on."""
    server, what = server_of(case)
    async with AsyncExitStack() as stack:
        if what == "slow":
            link, place = await _linked(server, place)
            stack.push_async_callback(link.close)
        settings: Settings = place.settings(
            api={"tokens": TOKENS},
            cache={"timeout_s": 2},
            queue={"timeout_s": 2},
            worker={"history_every_s": 3600},
            watch={"slow_read_s": 3600},  # the machine may be loaded: no read here is slow for another reason
        )
        stoker = await stack.enter_async_context(Stoker.opened(settings, notes.domain))
        site = Site(stoker, settings)
        await furnish(site)
        await site.execute("TRUNCATE stoker.dead_jobs, stoker.figure_history, stoker.figure_marks")
        await stoker.queue.redis.flushdb()  # nobody runs what the change has asked for
        await site.start()
        stack.push_async_callback(site.stop)
        if what == "slow":
            link.delay_s = DELAY_S[server]
            stack.callback(setattr, link, "delay_s", 0.0)
        yield site


async def _linked(server: str, place: Place) -> tuple[Link, Place]:
    if server == "database":
        url = make_url(place.database_url)
        link = await Link(url_of_postgres(url)).start()
        return link, replace(place, database_url=through(link, url).render_as_string(hide_password=False))
    which = f"{server}_url"
    link = await Link(getattr(place, which)).start()
    return link, replace(place, **{which: link.url})


@asynccontextmanager
async def broken(case: str, site: Site, servers: embedded.Embedded) -> AsyncIterator[None]:
    """Break what the case names while this lasts."""
    server, what = server_of(case)
    one: embedded.Server | None = (
        None if not server else getattr(servers, server.replace("database", "postgres"))
    )
    if what == "frozen" and one is not None:
        with frozen(one):
            yield
    elif what == "stopped" and one is not None:
        one.kill()
        try:
            yield
        finally:
            one.start()
    elif case == "cache full":
        async with Redis.from_url(site.stoker.settings.cache_redis_url.get_secret_value()) as redis:  # type: ignore[union-attr]
            before = await redis.config_get("maxmemory*")
            await redis.config_set("maxmemory-policy", "noeviction")
            await redis.config_set("maxmemory", 1)
            try:
                yield
            finally:
                await redis.config_set("maxmemory", before["maxmemory"])
                await redis.config_set("maxmemory-policy", before["maxmemory-policy"])
    else:
        yield


async def read_some(site: Site, truth: Truth) -> None:
    """Reads as a web app makes them, told to the history as a living process does."""
    for _ in range(READS):
        try:
            await site.stoker.read("detail", 7, reader=1)
        except RuntimeError:
            assert truth.failed
    store = site.stoker.cache.store
    await site.stoker.accounting.flush(store.client, store.keys)
    await Sampler(site.stoker, FigureHistory(site.stoker.engine), timedelta(0)).sample()


async def keep_reporting(site: Site) -> None:
    """A worker that lives."""
    while True:
        with suppress(DatabaseUnavailable):
            await Presence(site.stoker.engine, "w1").seen()
        await asyncio.sleep(BEAT_S)


async def scraped(site: Site, truth: Truth) -> str:
    """A scrape in which each server that is not slow is as it must be."""
    async with httpx.AsyncClient(base_url=site.url, headers=bearing(OPERATOR), timeout=60) as client:
        while True:
            found = (await client.get("/metrics")).text
            if is_as_expected(truth, {**up_of(found), **dict.fromkeys(truth.slow, "slow")}):
                return found


async def pictured(site: Site, truth: Truth) -> Overview:
    """What `stoker status` would show, of a moment at which each server is in its state."""
    async with aclosing(status._pictures(site.settings)) as pictures:
        async for found in pictures:
            if is_as_expected(truth, {name: one.state for name, one in found.health.servers.items()}):
                return found
    raise AssertionError("pictures end")


SNAPSHOT = """() => ({
  says: document.querySelector("main").innerText,
  servers: [...document.querySelectorAll(".servers li")].map((row) =>
    [row.querySelector("strong").textContent, row.className]),
  rows: [...document.querySelectorAll(".answers .rows > div")].map((row) =>
    [row.querySelector("dt").textContent, row.querySelector("dd").textContent]),
})"""
"""All of the page at one moment."""
ON_THE_PAGE = {"Postgres": "database", "Queue Redis": "queue", "Cache Redis": "cache"}


async def snapshot(page: Page, truth: Truth) -> tuple[str, dict[str, str]]:
    """Text and figures of the page, of a moment at which each server is shown in its state."""
    while True:
        found = await page.evaluate(SNAPSHOT)
        if is_as_expected(truth, {ON_THE_PAGE[name]: state for name, state in found["servers"]}):
            return found["says"], {name: value for name, value in found["rows"] if name in ROWS}
        await asyncio.sleep(0.1)


async def shown_in(page: Page, truth: Truth) -> tuple[str, dict[str, str]]:
    """The page once it has heard of the truth."""
    for server in truth.down | truth.slow:
        states = ".servers li.down" if server in truth.down else ".servers li.slow, .servers li.down"
        name = {"database": "Postgres", "queue": "Queue Redis", "cache": "Cache Redis"}[server]
        await page.locator(states, has_text=name).wait_for()
    headline = page.locator(".verdict")
    if not truth.worker:
        await expect(headline).to_contain_text(re.compile("no worker reports", re.IGNORECASE))
    if truth.full:
        await expect(headline).to_contain_text("used all of its memory")
    if truth.failed:
        await expect(headline).to_contain_text("of detail failed")
    return await snapshot(page, truth)


@pytest.mark.parametrize(
    "case", [case if case in SHORT else pytest.param(case, marks=pytest.mark.long) for case in CASES]
)
async def test_every_statement_is_true_while_something_is_broken(
    case: str, browser: Browser, place: Place, servers: embedded.Embedded, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, notes, shown = CASES[case], Notes(), Shown()
    async with site_of(case, place, notes) as site, window(browser) as context:
        living = asyncio.create_task(keep_reporting(site)) if truth.worker else None
        await Presence(site.stoker.engine, "w1").seen()
        await read_some(site, Truth())
        before = await scraped(site, Truth(slow=truth.slow))
        if truth.failed:
            notes.failing["detail"] = RuntimeError("boom")
            await site.stoker.invalidate_now([Invalidation(note(7), hard=True)])
        await read_some(site, truth)
        if not truth.worker:
            await site.execute(
                "UPDATE stoker.figure_marks SET at = at - interval '20 s' WHERE series = 'worker:w1'"
            )
        page = await signed_in(context, site, OPERATOR)
        async with broken(case, site, servers):
            async with asyncio.timeout(PATIENCE_S):
                shown.page, shown.rows = await shown_in(page, truth)
                shown.metrics = (before, await scraped(site, truth))
                found = await pictured(site, truth)
            capsys.readouterr()
            status._draw(found)
            shown.status = capsys.readouterr().out
        if living is not None:
            living.cancel()
            await asyncio.wait([living])
        check(truth, shown)
