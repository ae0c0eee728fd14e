"""What an operator does in the console: each act is confirmed, done and audited."""

from __future__ import annotations

from datetime import timedelta

from playwright.async_api import Browser, expect

from stoker.history.roster import Roster
from stoker.jobs import Lane, Warm
from stoker.worker.engine.depth import LaneDepth, depth
from stoker.worker.engine.meter import Load
from tests.browser.site import ON_ONE_LOOP, Site, actions, bury, furnish, signed_in, window
from tests.support.callers import OPERATOR

pytestmark = ON_ONE_LOOP


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
        await expect(page.get_by_text("3 jobs retried. 0 dead letters left.")).to_be_visible()
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
        await expect(page.get_by_text("No job is deferred")).to_be_visible()
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
        await expect(page.get_by_text("Lane warm: slots of each worker's settings.")).to_be_visible()
        assert (await lane()).slots is None
    assert await actions(site) == ["lane.pause", "lane.resume", "lane.set", "lane.set"]


async def test_dead_letters_of_a_filter_are_discarded_and_no_others(browser: Browser, site: Site) -> None:
    await bury(site, 3)
    await site.execute(
        "INSERT INTO stoker.dead_jobs (job_id, lane, kind, reason, error, fingerprint, attempts) SELECT"
        " 'other' || n, 'warm', 'warm.v1', 'failed', 'TypeError: wrong\n[SQL: SELECT 1]', md5('x'), 1"
        " FROM generate_series(1, 4) n"
    )
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "dead")
        await page.get_by_role("button", name="Retry all 7").wait_for()
        await page.get_by_label("Error").fill("typeerror")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.get_by_text("4 of 7 dead letters match.")).to_be_visible()
        await expect(page.locator(".group .error")).to_have_text("TypeError: wrong")
        await page.get_by_role("button", name="Discard all 4").click()
        await page.get_by_role("button", name="Discard 4 dead letters").click()
        await expect(page.get_by_text("4 dead letters discarded. 3 dead letters left.")).to_be_visible()
        await expect(page.get_by_text("No dead letter matches")).to_be_visible()


async def test_an_entry_is_explained_compared_and_its_change_followed(browser: Browser, site: Site) -> None:
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "cache?kind=note&id=7")
        await page.get_by_role("button", name="Explain detail of note:7").click()
        panel = page.locator(".panel")
        await expect(panel.get_by_text("A read builds it: the entry that is there was")).to_be_visible()
        await panel.get_by_role("button", name="event 1").click()
        followed = page.locator(".panel").last
        await expect(followed.get_by_text("recorded", exact=True)).to_be_visible()
        await expect(followed.locator(".timeline").get_by_text("applied", exact=True)).to_be_visible()
        for _ in range(2):
            await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Compare with SQL").click()
        await expect(page.get_by_text("No entry differs from SQL.")).to_be_visible()


async def test_what_the_verifier_found_is_acknowledged(browser: Browser, site: Site) -> None:
    await site.execute(
        "INSERT INTO stoker.stale_findings (view, scope, params, age_s, differs, suspects, found_by)"
        " VALUES ('detail', 'note:7', '', 34, '[\"body\"]', '[]', 'host:1')"
    )
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "cache")
        await expect(page.get_by_text("detail of note:7")).to_be_visible()
        await page.get_by_role("button", name="Acknowledge 1").click()
        await expect(page.get_by_text("1 finding acknowledged.")).to_be_visible()
        await expect(page.get_by_text("detail of note:7")).to_be_hidden()
    assert await actions(site) == ["cache.acknowledge"]


async def test_a_worker_is_made_quiet(browser: Browser, site: Site) -> None:
    load = {"warm": Load(slots=2, busy=1, busy_s=9.0, slot_s=10.0)}
    roster = Roster(site.stoker.engine, "host:1", "app 7f3a", lambda: load, lambda _: None)
    await roster.report()
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "workers")
        await expect(page.get_by_text("app 7f3a")).to_be_visible()
        await expect(page.get_by_text("1 of 2")).to_be_visible()
        await page.get_by_role("button", name="Quiet host:1").click()
        await expect(page.get_by_text("The worker takes no new jobs.")).to_be_visible()
        await expect(page.get_by_role("button", name="Resume host:1")).to_be_visible()
    assert await actions(site) == ["worker.quiet"]
