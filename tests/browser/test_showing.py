"""What the console shows by itself: changes, verdicts, charts, and that it has lost touch."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta

from playwright.async_api import Browser, Route, expect
from sqlalchemy import text

from stoker.handlers import relay
from stoker.history.job_rows import JobHistory
from stoker.history.presence import Presence
from stoker.jobs import Prune
from stoker.outbox.record import InvalidationRequested
from stoker.prediction.contest import COUNTS, DEFAULT, PREDICTOR
from stoker.queue.progress import Progress
from stoker.rules import Invalidation
from tests.browser.site import ON_ONE_LOOP, Site, bury, change, furnish, predicted, signed_in, window
from tests.integration.test_history import row
from tests.support.callers import OPERATOR, VIEWER
from tests.support.notes import note

pytestmark = ON_ONE_LOOP
FACTS = {
    "Chosen by": "predictor",
    "Budget": "6 s a minute",
    "Spent": "3.4 s",
    "Wasted": "1.2 s",
    "Warmed": "170 entries",
    "Used in time": "110 (64.7 %)",
    "Training kept": "not yet",
    "Predicted by": "w1",
}
"""Of the prediction that `predicted` keeps."""


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
        await expect(says).to_have_text("No worker reports: start one, or read its log")


async def test_the_charts_tell_views_and_causes_apart(browser: Browser, site: Site) -> None:
    await furnish(site)
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        hits = page.locator(".chart", has_text="Hit rate")
        await expect(hits.locator(".legend")).to_contain_text("detail")
        await expect(hits.get_by_role("img")).to_have_attribute("aria-label", re.compile("detail 9"))
        await expect(page.locator(".chart", has_text="Misses a minute").locator("li")).to_contain_text("cold")


async def test_a_chart_without_figures_says_so_and_labels_no_values(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        for title in ("p99 of reads", "Failed reads a minute", "Hit rate", "p99 wait of jobs"):
            chart = page.locator(".chart", has_text=title)
            await expect(chart.locator(".nothing")).to_have_text(re.compile("^No (data|reads|jobs)$"))
            assert "".join(await chart.locator("text.end").all_text_contents()) == "", title


async def test_a_chart_of_short_times_has_different_labels(browser: Browser, site: Site) -> None:
    await furnish(site)
    await site.execute(
        "INSERT INTO stoker.figure_history SELECT 60, date_trunc('minute', now()) - n * interval '1 minute',"
        " series, false, value FROM generate_series(1, 50) n,"
        " (VALUES ('view:detail:read:0.001', 10), ('view:detail:took:0.001', 0.002)) AS s (series, value)"
    )
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        chart = page.locator(".chart", has_text="p99 of reads")
        await expect(chart.locator(".legend")).to_contain_text("< 1 ms")
        labels = await chart.locator("text.end").all_text_contents()
        assert labels == ["0 s", "1 ms", "2 ms", "3 ms", "4 ms"]


async def test_workers_are_not_asked_again_before_they_were_answered(browser: Browser, site: Site) -> None:
    """An answer of a server that is away takes longer than the interval: it would never be shown."""
    asked: list[str] = []
    answered = asyncio.Event()

    async def hold(route: Route) -> None:
        asked.append(route.request.url)
        await answered.wait()
        body = json.dumps({"error": "database_unavailable", "message": "Postgres does not answer"})
        await route.fulfill(status=503, body=body, content_type="application/json")

    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        await page.clock.install()
        await page.route("**/api/workers", hold)
        async with page.expect_request("**/api/workers"):
            await page.goto(f"{site.url}/#/workers")
        await page.clock.run_for(11_000)
        assert len(asked) == 1
        answered.set()
        await expect(page.get_by_role("alert")).to_contain_text("Postgres does not answer")


async def test_a_chart_draws_gaps_as_gaps_and_says_when_and_in_which_zone(
    browser: Browser, site: Site
) -> None:
    await furnish(site)
    await site.execute(
        "DELETE FROM stoker.figure_history WHERE at BETWEEN now() - interval '33 minutes'"
        " AND now() - interval '27 minutes'"
    )
    async with window(browser, timezone_id="Europe/Berlin") as context:
        page = await signed_in(context, site, VIEWER)
        await expect(page.locator(".history")).to_contain_text("Times in Europe/Berlin (UTC+0")
        chart = page.locator(".chart", has_text="Hit rate")
        await expect(chart.locator(".gap")).to_have_count(1)
        assert await chart.locator("path.line").count() == 4, "two lines, each with a break"
        await chart.get_by_role("img").focus()
        await page.keyboard.press("ArrowRight")
        when = chart.locator(".when")
        await expect(when).to_have_text(re.compile(r"^\d\d:\d\d to \d\d:\d\d, Europe/Berlin$"))
        await expect(chart.get_by_role("img")).to_have_attribute("aria-label", re.compile("to .*: all 9"))
        gap = await chart.locator(".gap").bounding_box()
        assert gap is not None
        await page.mouse.move(gap["x"] + gap["width"] / 2, gap["y"] + 20)
        await expect(when).to_contain_text("neither a worker nor an API process ran")
        clipped = await page.evaluate(
            "() => [...document.querySelectorAll('.chart-room text')].filter((text) => {"
            " const own = text.getBoundingClientRect();"
            " const room = text.closest('.chart').getBoundingClientRect();"
            " return own.left < room.left || own.right > room.right; }).map((text) => text.textContent)"
        )
        assert clipped == []


async def test_a_scope_that_is_looked_up_shows_its_next_invalidation_by_itself(
    browser: Browser, site: Site
) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER, "cache?kind=note&id=7")
        await expect(page.get_by_text("None among the latest events.")).to_be_visible()
        await change(site)
        await expect(page.locator(".scope .timeline li")).to_contain_text("stoker.invalidation_requested")


async def test_what_strangers_wrote_is_shown_as_text_in_its_own_order(browser: Browser, site: Site) -> None:
    await bury(site, 1, error="<img src=x onerror=alert(1)> \u202egnp.exe\x1b[2J")
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "dead")
        await expect(page.locator("main")).to_contain_text(
            "<img src=x onerror=alert(1)> \\u202egnp.exe\\u001b[2J"
        )
        assert await page.locator("main img").count() == 0


async def test_the_disconnected_banner_appears_and_goes(browser: Browser, site: Site) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER)
        banner = page.locator("#banner")
        await expect(banner).to_be_hidden()
        await site.stop()
        await expect(banner).to_contain_text("Disconnected")
        await expect(page.locator(".status")).to_have_text("Disconnected")
        await expect(page.locator(".figure").first).to_be_visible()  # the last known figures stay
        await site.start()
        await expect(page.locator(".status")).to_have_text("Live")
        await expect(banner).to_be_hidden()


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
        await expect(page.get_by_text("session.begin")).to_be_visible()  # the sign-in of this test


async def test_open_and_ended_batches_stand_above_the_jobs(browser: Browser, site: Site) -> None:
    jobs = [Prune() for _ in range(3)]
    batch = await site.stoker.enqueue_batch(jobs, batch_id="nightly")
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER, "jobs")
        shown = page.get_by_role("table", name="Batches").get_by_role("row").filter(has_text="nightly")
        await expect(shown).to_contain_text("open")
        for job_id in batch.job_ids:
            await site.stoker.cancel(job_id)
        await page.reload()
        await expect(shown.get_by_role("cell").nth(1)).to_have_text("ended")
        await expect(shown.get_by_role("cell").nth(5)).to_have_text("3")


async def test_how_far_a_job_is_stands_with_the_job(browser: Browser, site: Site) -> None:
    asked = await site.stoker.enqueue(Prune())
    await Progress(site.stoker.queue.redis, site.stoker.queue.settings).report(asked.job_id, 3, 10)
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER, "jobs?state=ready")
        await page.get_by_role("button", name=f"Open job {Prune.kind}").click()
        fact = page.locator(".facts > div", has=page.get_by_text("Progress", exact=True))
        await expect(fact.locator("dd")).to_have_text(re.compile("^3 of 10, "))
    await site.stoker.cancel(asked.job_id)


async def test_the_result_of_a_job_is_shown_as_text_and_to_operators_alone(
    browser: Browser, site: Site
) -> None:
    await Progress(site.stoker.queue.redis, site.stoker.queue.settings).keep_result(
        "kept", b'{"text":"<b>bold</b>"}', timedelta(hours=1)
    )
    await JobHistory(site.stoker.engine).add([row(job_id="kept", kind="reports.write")])
    async with window(browser) as context:
        page = await signed_in(context, site, OPERATOR, "jobs?kind=reports.write")
        await page.get_by_role("button", name="Open job reports.write").click()
        await expect(page.get_by_label("Result", exact=True)).to_have_text('{"text":"<b>bold</b>"}')
        await expect(page.get_by_text("Kept: 22 bytes of JSON. It expires at")).to_be_visible()
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER, "jobs?kind=reports.write")
        await page.get_by_role("button", name="Open job reports.write").click()
        await expect(page.get_by_text("22 bytes of JSON. Only operators see it.")).to_be_visible()
        await expect(page.get_by_label("Result", exact=True)).to_have_count(0)


async def test_what_prediction_does_is_shown_and_what_is_not_known_is_called_so(
    browser: Browser, site: Site
) -> None:
    async with window(browser) as context:
        page = await signed_in(context, site, VIEWER, "cache")
        panel = page.get_by_role("region", name="Predicted warming")
        await expect(panel).to_contain_text("No worker has predicted yet")
        await expect(panel.locator(".state")).to_have_text("silent")
        await expect(panel.locator("dd")).to_have_count(0)
        await predicted(site, PREDICTOR)
        await expect(panel.locator(".state")).to_have_text("live")
        for name, value in FACTS.items():
            fact = panel.locator(".facts > div", has=page.get_by_text(name, exact=True))
            await expect(fact.locator("dd")).to_have_text(value)
        contest = panel.get_by_role("table", name="The last day").get_by_role("row").filter(has_text=COUNTS)
        await expect(contest).to_have_text(re.compile("70.*1.4 s.*6 s"))
        calibration = panel.get_by_role("table", name="Calibration").get_by_role("row").last
        await expect(calibration).to_have_text(re.compile("14 %.*21 %.*20.9 %.*1,940"))
        await predicted(site, DEFAULT)
        await expect(panel.locator(".state")).to_have_text("shadow")
        await site.execute("UPDATE stoker.warm_predictor SET planned_at = planned_at - interval '1 hour'")
        await expect(panel.locator(".state")).to_have_text("silent")
        async with site.stoker.engine.begin() as connection:
            await connection.execute(text("LOCK TABLE stoker.warm_predictor IN ACCESS EXCLUSIVE MODE"))
            await expect(panel).to_contain_text("Postgres did not answer within")
            await expect(panel.locator(".state, dd")).to_have_count(0)
        await expect(panel.locator(".state")).to_have_text("silent")
