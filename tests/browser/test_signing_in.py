"""Who is let in, as whom, and what the browser keeps of it."""

from __future__ import annotations

import json
import re

from playwright.async_api import Browser, expect

from tests.browser.site import ON_ONE_LOOP, SECTIONS, Site, actions, furnish, loaded, signed_in, window
from tests.support.callers import OPERATOR, VIEWER

ACTS = re.compile(
    "^(pause|resume|run|retry|discard|invalidate|warm|refresh|cancel|set|add|revoke)", re.IGNORECASE
)

pytestmark = ON_ONE_LOOP


async def test_signing_in_leaves_no_token_in_the_browser(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await context.new_page()
        await page.goto(site.url)
        await page.get_by_label("Token").fill("not-a-token-of-anybody")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_have_text("no such token")
        await page.get_by_label("Token").fill(OPERATOR)
        await page.keyboard.press("Enter")
        await expect(page.locator(".status")).to_have_text("Live")
        (cookie,) = await context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert OPERATOR not in json.dumps(cookie)
        seen = "document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"
        assert OPERATOR not in await page.evaluate(seen)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("Token")).to_be_visible()


async def test_the_address_that_the_first_start_prints_signs_in_and_forgets_the_token(
    browser: Browser, site: Site
) -> None:
    async with window(browser) as context:
        page = await context.new_page()
        await page.goto(f"{site.url}/#token={OPERATOR}")
        await expect(page.locator(".status")).to_have_text("Live")
        assert page.url == f"{site.url}/"
        await page.goto("about:blank")
        await page.go_back()
        await expect(page.locator(".status")).to_have_text("Live")
        assert OPERATOR not in page.url
        await page.goto(f"{site.url}/#token=not-a-token-of-anybody")
        await page.reload()
    async with window(browser) as context:
        page = await context.new_page()
        await page.goto(f"{site.url}/#token=not-a-token-of-anybody")
        await expect(page.get_by_label("Token")).to_be_visible()
        await expect(page.get_by_text("no such token")).to_be_visible()


async def test_a_token_is_shown_once_and_ends_when_it_is_revoked(browser: Browser, site: Site) -> None:
    async with window(browser) as context, window(browser) as another:
        page = await signed_in(context, site, OPERATOR, "tokens")
        await page.get_by_label("Whose").fill("ann")
        await page.get_by_label("Role").select_option("operator")
        await page.get_by_role("button", name="Add a token").click()
        token = await page.get_by_label("The token of ann").input_value()
        await page.get_by_role("button", name="Close").click()
        await page.reload()
        await expect(page.get_by_role("cell", name="ann", exact=True)).to_be_visible()
        await expect(page.get_by_label("The token of ann")).to_have_count(0)

        theirs = await signed_in(another, site, token)
        await page.get_by_role("button", name="Revoke token ann").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke ann").click()
        await expect(page.get_by_text("ann is revoked.")).to_be_visible()
        await expect(theirs.get_by_label("Token")).to_be_visible()
    assert await actions(site) == ["token.add", "token.revoke"]


async def test_viewers_have_no_section_of_tokens(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER, "tokens")
        await expect(page.locator(".verdict")).to_be_visible()  # the overview instead
        await expect(page.get_by_role("link", name="Tokens")).to_have_count(0)
        asked = """async () => (await fetch("/api/tokens")).status"""
        assert await page.evaluate(asked) == 403


async def test_a_viewer_sees_everything_and_cannot_act(browser: Browser, site: Site) -> None:
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        for section in SECTIONS:
            await page.goto(f"{site.url}/#/{section}")
            await loaded(page)
            assert await page.get_by_role("button", name=ACTS).count() == 0, section
        await page.goto(f"{site.url}/#/jobs")
        await page.get_by_role("button", name="Open job refresh.v1").first.click()
        await expect(page.get_by_text("Only operators see arguments.")).to_be_visible()
        refused = """async () => (await fetch("/api/jobs/dead/retry", {method: "POST", body: '{"all": true}',
            headers: {"Content-Type": "application/json", "X-Stoker-Console": "1"}})).status"""
        assert await page.evaluate(refused) == 403
