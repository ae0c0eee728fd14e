"""The console is accessible, fits a phone, works by keyboard, is small, and loads nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.site import ON_ONE_LOOP, SECTIONS, Site, complaints, furnish, loaded, signed_in, window
from tests.support.callers import OPERATOR

LIGHTEST_PAGE_BYTES = 150 * 1024
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
PHONE = {"width": 400, "height": 850}

pytestmark = ON_ONE_LOOP


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_section_is_accessible_and_raises_no_complaint(
    browser: Browser, site: Site, scheme: str
) -> None:
    await furnish(site)
    async with window(browser, color_scheme=scheme) as context:
        page = await signed_in(context, site, OPERATOR)
        with complaints(page) as found:
            for section in SECTIONS:
                await page.goto(f"{site.url}/#/{section}")
                await loaded(page)
                assert await violations(page) == [], section
            await page.goto(f"{site.url}/#/jobs")
            await page.get_by_role("button", name="Open job warm.v1").first.click()
            await expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
            assert await violations(page) == []
        assert found == []
        paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, paper[4:-1].split(","))) > 3 * 128) is (scheme == "light")


async def test_the_sign_in_page_is_accessible(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await context.new_page()
        await page.goto(site.url)
        await page.get_by_label("Token").wait_for()
        assert await violations(page) == []


async def test_a_phone_scrolls_in_one_direction_only(browser: Browser, site: Site) -> None:
    await furnish(site)
    async with window(browser, viewport=PHONE, has_touch=True, is_mobile=True) as context:
        page = await signed_in(context, site, OPERATOR)
        for section in SECTIONS:
            await page.goto(f"{site.url}/#/{section}")
            await loaded(page)
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], section
            # Nothing sticks out of the page and is cut off, either.
            outside = """() => [...document.querySelectorAll("main *")].filter((node) =>
                node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".chart-room, pre")
                && node.checkVisibility()).map((node) => node.outerHTML.slice(0, 120))"""
            assert await page.evaluate(outside) == [], section


async def test_the_keyboard_is_enough(browser: Browser, site: Site) -> None:
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR)
        await page.keyboard.press("2")
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        await loaded(page)
        await page.keyboard.press("/")
        await page.keyboard.type("boom")
        await page.keyboard.press("Enter")
        await expect(page.locator("tbody tr")).to_have_count(1)
        opener = page.get_by_role("button", name="Open job")
        await opener.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_contain_text("boom")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(opener).to_be_focused()


async def test_the_page_is_light_and_asks_no_other_host(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await context.new_page()
        sizes: dict[str, int] = {}

        async def weigh(route: Route) -> None:
            answer = await route.fetch()
            if "/api/" not in route.request.url:
                sizes[route.request.url] = len(await answer.body())
            await route.fulfill(response=answer)

        await page.route("**/*", weigh)
        await page.goto(site.url)
        await page.get_by_label("Token").wait_for()
        assert all(url.startswith(site.url) for url in sizes)
        assert len(sizes) > 5
        assert sum(sizes.values()) < LIGHTEST_PAGE_BYTES  # unpacked


async def violations(page: Page) -> list[str]:
    """What axe finds, in words."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    found: Any = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
