"""What an operator and a viewer see and do, in a real browser."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect
from sqlalchemy import text

from jobs.contracts import Lane, Warm
from jobs.domain import Invalidation
from jobs.outbox.record import InvalidationRequested
from jobs.tasks import relay
from tests.browser.conftest import OPERATOR, VIEWER, Site, complaints, signed_in, window
from tests.integration.test_history import row
from tests.notes import SCHEMA, note
from worker.engine.depth import LaneDepth, depth
from worker.history.job_rows import JobHistory
from worker.history.presence import Presence

SECTIONS = ("overview", "jobs", "dead", "schedule", "cache?kind=note&id=7", "audit", "tokens")
LIGHTEST_PAGE_BYTES = 150_000
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
ACTS = re.compile(
    "^(pause|resume|run|retry|discard|invalidate|warm|refresh|cancel|set|add|revoke)", re.IGNORECASE
)
PHONE = {"width": 400, "height": 850}

expect.set_options(timeout=20_000)


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
    await bury(site, 3)
    await JobHistory(site.stoker.engine).add(
        [
            row(job_id="good", kind="refresh.v1", scope="note:7"),
            row(job_id="bad", failed=True, outcome="dead", error="ValueError: " + "long " * 60),
            row(job_id="again", failed=True, outcome="retried", error="boom", attempt=2),
        ]
    )
    await site.execute(
        "INSERT INTO audit_log (actor, action, arguments)"
        " VALUES ('oscar', 'cache.invalidate', '{\"scope\": \"note:7\", \"views\": []}')"
    )
    await site.execute(
        "INSERT INTO figure_history SELECT 60, date_trunc('minute', now()) - n * interval '1 minute', series,"
        " false, value * (n % 7 + 1) FROM generate_series(0, 50) n, (VALUES ('view:detail:hits', 90),"
        " ('view:detail:miss_cold', 3), ('lane:warm:done', 5), ('lane:warm:wait:0.05', 5)) "
        " AS s (series, value)"
    )


async def bury(site: Site, letters: int) -> None:
    await site.execute(
        "INSERT INTO dead_jobs (job_id, lane, kind, payload, reason, error, fingerprint, attempts)"
        " SELECT 'dead' || n, 'warm', 'warm.v1', '{\"target\": \"active\"}', 'exhausted', 'KeyError: boom',"
        " 'abc123', 5 FROM generate_series(1, :letters) n",
        letters=letters,
    )


async def change(site: Site) -> None:
    """A change as a web app makes one, applied as a worker applies it."""
    async with site.stoker.session() as session, session.begin():
        site.stoker.record(session, InvalidationRequested.of([Invalidation(note(7))]))
    await relay.apply_all(site.stoker)


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


async def test_a_change_travels_live_to_the_page(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        applied = page.locator(".rows > div", has_text="Applied in the last minute").locator("dd")
        await expect(applied).to_have_text("0")
        await change(site)
        await expect(applied).to_have_text("1")
        async with site.stoker.session() as session, session.begin():
            site.stoker.record(session, InvalidationRequested.of([Invalidation(note(8))]))
        await expect(page.locator(".figure").first).to_have_text("1")  # recorded, and nobody applies it
        await relay.apply_all(site.stoker)
        await expect(page.locator(".figure").first).to_have_text("0")


async def test_nothing_is_called_right_or_warm_before_it_was_compared_and_read(
    browser: Browser, site: Site
) -> None:
    async with window(browser) as context:
        await Presence(site.stoker.engine, "w1").seen()
        page = await signed_in(context, site, VIEWER)
        says = page.locator(".verdict-says")
        await expect(says).to_have_text("Nothing was read or compared with SQL yet. The worker keeps up.")
        await Presence(site.stoker.engine, "w1").left()
        await expect(says).to_have_text("Something is wrong.")
        await expect(page.locator(".verdict li")).to_contain_text("no worker reports")


async def test_the_charts_tell_views_and_causes_apart(browser: Browser, site: Site) -> None:
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        hits = page.locator(".chart", has_text="Hit rate")
        await expect(hits.locator(".legend")).to_contain_text("detail")
        await expect(hits.get_by_role("img")).to_have_attribute("aria-label", re.compile("detail 9"))
        await expect(page.locator(".chart", has_text="Misses a minute").locator("li")).to_contain_text("cold")


async def test_a_scope_that_is_looked_up_shows_its_next_invalidation_by_itself(
    browser: Browser, site: Site
) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER, "cache?kind=note&id=7")
        await expect(page.get_by_text("None among the latest events.")).to_be_visible()
        await change(site)
        await expect(page.locator(".scope .timeline li")).to_contain_text("stoker.invalidation_requested")


async def test_dead_letters_are_retried_after_a_confirmation_that_says_how_many(
    browser: Browser, site: Site
) -> None:
    await bury(site, 3)
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "dead")
        await page.get_by_role("button", name="Retry 3").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Retry 3 jobs?")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Retry 3")).to_be_visible()
        assert (await depth(site.stoker.queue))[Lane.WARM].ready == 0
        await page.get_by_role("button", name="Retry 3").click()
        await dialog.get_by_role("button", name="Retry 3 jobs").click()
        await expect(page.get_by_text("3 jobs retried.")).to_be_visible()
        await expect(page.get_by_text("No dead letters")).to_be_visible()
    assert (await depth(site.stoker.queue))[Lane.WARM].ready == 3


async def test_a_dead_letter_appears_while_the_page_is_open_and_is_discarded(
    browser: Browser, site: Site
) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "dead")
        await expect(page.get_by_text("No dead letters")).to_be_visible()
        await bury(site, 1)
        await page.get_by_role("button", name="Discard").click()
        await page.get_by_role("button", name="Discard 1 dead letter").click()
        await expect(page.get_by_text("No dead letters")).to_be_visible()


async def test_a_waiting_job_is_cancelled_after_a_confirmation(browser: Browser, site: Site) -> None:
    asked = await site.stoker.enqueue(Warm(), delay=timedelta(hours=1))
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "jobs?state=deferred")
        button = page.get_by_role("button", name="Cancel job warm.v1")
        await button.click()
        await page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
        assert await site.stoker.queue.is_open(asked.job_id)
        await button.focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
        await expect(page.get_by_text("The job is cancelled.")).to_be_visible()
        await expect(page.get_by_text("No job is like that")).to_be_visible()
    assert not await site.stoker.queue.is_open(asked.job_id)
    assert await actions(site) == ["job.cancel"]


async def test_an_opened_job_can_be_cancelled_too(browser: Browser, site: Site) -> None:
    asked = await site.stoker.enqueue(Warm(), delay=timedelta(hours=1))
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "jobs?state=deferred")
        await page.get_by_role("button", name="Open job warm.v1").click()
        await page.locator(".panel").get_by_role("button", name="Cancel job warm.v1").click()
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(page.get_by_text("The job is cancelled.")).to_be_visible()
    assert not await site.stoker.queue.is_open(asked.job_id)


async def test_a_lane_is_paused_resumed_and_given_slots(browser: Browser, site: Site) -> None:
    async def lane() -> LaneDepth:
        return (await depth(site.stoker.queue))[Lane.WARM]

    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR)
        await page.get_by_role("button", name="Pause lane warm").click()
        assert not (await lane()).paused
        await page.get_by_role("dialog").get_by_role("button", name="Pause it").click()
        resume = page.get_by_role("button", name="Resume lane warm")
        await expect(resume).to_be_visible()
        assert (await lane()).paused
        await resume.click()
        await expect(page.get_by_role("button", name="Pause lane warm")).to_be_visible()
        slots = page.get_by_role("button", name="Set the slots of lane warm")
        await slots.click()
        field = page.get_by_label("Jobs at once")
        await field.fill("0")
        await page.keyboard.press("Enter")
        await expect(field).to_be_visible()  # none at all is a pause
        await field.fill("7")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Lane warm: 7 slots in each worker.")).to_be_visible()
        assert (await lane()).slots == 7
        await slots.click()
        await field.fill("")
        await page.get_by_role("dialog").get_by_role("button", name="Set").click()
        await expect(page.get_by_text("Lane warm: as each worker's settings say.")).to_be_visible()
        assert (await lane()).slots is None
    assert await actions(site) == ["lane.pause", "lane.resume", "lane.set", "lane.set"]


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


async def actions(site: Site) -> list[str]:
    """What the audit log says, in its order."""
    async with site.stoker.engine.connect() as connection:
        return list(await connection.scalars(text("SELECT action FROM audit_log ORDER BY id")))


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


async def test_the_disconnected_banner_appears_and_goes(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        banner = page.locator("#banner")
        await expect(banner).to_be_hidden()
        await site.stop()
        await expect(banner).to_contain_text("Disconnected")
        await expect(page.locator(".status")).to_have_text("Disconnected")
        await expect(page.locator(".figure").first).to_be_visible()  # what was known stays
        await site.start()
        await expect(page.locator(".status")).to_have_text("Live")
        await expect(banner).to_be_hidden()


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


async def test_what_cannot_be_loaded_says_so_and_can_be_tried_again(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)

        async def refuse(route: Route) -> None:
            body = json.dumps({"error": "database_unavailable", "message": "Postgres does not answer"})
            await route.fulfill(status=503, body=body, content_type="application/json")

        await page.route("**/api/audit*", refuse)
        await page.goto(f"{site.url}/#/audit")
        await expect(page.get_by_role("alert")).to_contain_text("Postgres does not answer")
        await page.unroute("**/api/audit*")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("Nobody has done anything")).to_be_visible()


async def loaded(page: Page) -> None:
    """Wait until the section has what it asked for."""
    await page.locator(".status.live").wait_for()
    await page.locator("main .loading").first.wait_for(state="hidden")
    await page.locator("main [aria-busy]").first.wait_for(state="hidden")


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
