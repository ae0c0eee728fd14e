"""What the console says while a server is silent: which one, what is not known, and nobody else is blamed."""

from __future__ import annotations

import time

from playwright.async_api import Browser, expect

from stoker import embedded
from stoker.operations.health import addresses
from tests.browser.site import ON_ONE_LOOP, Site, furnish, signed_in, window
from tests.support.callers import VIEWER
from tests.support.freezing import frozen

pytestmark = ON_ONE_LOOP
NONE = "\N{EN DASH}"
FIRST_PICTURE_S = 4.0
"""Twice 0.5 s to learn who is signed in, twice 0.8 s for the overview; the rest is for a busy machine."""


async def test_a_silent_postgres_is_named_and_nothing_else_is_blamed_or_shown_as_zero(
    browser: Browser, site: Site, servers: embedded.Embedded
) -> None:
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        await expect(page.locator(".servers li", has_text="Postgres")).to_contain_text("ok")
        with frozen(servers.postgres):
            began = time.monotonic()
            again = await context.new_page()
            await again.goto(site.url)
            await expect(again.locator(".verdict-says")).to_be_visible()
            assert time.monotonic() - began < FIRST_PICTURE_S
            silent = again.locator(".servers li", has_text="Postgres")
            await expect(silent).to_contain_text("no answer within 0.8 s")
            await expect(silent.locator("code")).to_have_text(addresses(site.settings)["database"])
            for well in ("Queue Redis", "Cache Redis"):
                await expect(again.locator(".servers li", has_text=well)).to_contain_text("ok")
            cards = again.locator(".answers")
            await expect(cards).to_contain_text("Postgres gave no answer within 0.8 s")
            assert "Redis" not in await cards.inner_text()
            for figure in (
                "Jobs a minute",
                "Failed a minute",
                "Reads",
                "Applied in the last minute",
                "Workers",
            ):
                value = (
                    cards.locator(".rows > div")
                    .filter(has=again.get_by_text(figure, exact=True))
                    .locator("dd")
                )
                await expect(value).to_have_text(NONE)
            await expect(again.get_by_role("table", name="Lanes")).to_be_visible()  # the queue answers
        await expect(again.locator(".servers li.down")).to_have_count(0)


async def test_what_the_cache_holds_is_shown_while_a_part_of_the_page_waits_for_postgres(
    browser: Browser, site: Site, servers: embedded.Embedded
) -> None:
    """Postgres is called silent after a minute only: what is shown meanwhile did not wait for it."""
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        with frozen(servers.postgres):
            await page.goto(f"{site.url}/#/cache?kind=note&id=7")
            scope = page.get_by_role("region", name="Scope note:7")
            await expect(scope.get_by_role("table", name="Entries")).to_contain_text("detail")
            await expect(scope.locator(".loading")).to_have_count(1)  # the latest changes
        await expect(scope.locator(".loading")).to_have_count(0)
        await expect(scope.locator(".timeline")).to_contain_text("applied")


async def test_a_silent_queue_is_named_and_what_postgres_knows_is_shown(
    browser: Browser, site: Site, servers: embedded.Embedded
) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        with frozen(servers.queue):
            await expect(page.locator(".servers li.down")).to_contain_text("Queue Redis")
            worker = page.locator(".answer", has_text="worker")
            await expect(worker).to_contain_text("The queue Redis gave no answer within 0.8 s")
            await expect(worker.locator(".rows")).to_contain_text("none reporting")
            assert "Postgres" not in await page.locator(".answers").inner_text()
