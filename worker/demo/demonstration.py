"""One demonstration: a run of chaos without faults, on the real worker and web app, for people to watch."""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from pathlib import Path
from random import Random

from jobs import domain
from jobs.files import FILES
from stoker import Lane, Stoker
from stoker.chaos import answers
from stoker.chaos.driver import Driver
from stoker.chaos.program import Facts, interruptible, performed, stop_if_interrupted
from stoker.chaos.screen import Screen
from stoker.chaos.slots import WORKER_READY, Slot, started
from stoker.chaos.stage import Place, database_of_its_own, keys_of_its_own, placed
from stoker.chaos.tally import Tally
from stoker.embedded import Urls
from stoker.migrate import migrate
from stoker.operations import lanes
from stoker.outbox.rows import backlog
from stoker.outbox.undelivered import undelivered
from stoker.settings import Settings, load_settings, require
from worker.demo.options import DemoOptions
from worker.demo.reads import VIEWS
from worker.demo.report import Servers, newest_event, report
from worker.demo.scale import environment_of, scaled
from worker.demo.workload import workload

WEBAPP_ARGUMENTS = ("--host", "127.0.0.1", "--port", "0", "--no-access-log", "--timeout-keep-alive", "75")
WEBAPP_READY = re.compile(rb"http://127\.0\.0\.1:(\d+)")
QUIET_WITHIN_S = 20.0
POLL_S = 0.05


def demonstrate(options: DemoOptions) -> int:
    """See `worker.demo.run`."""
    screen = Screen(VIEWS)
    return performed("the demonstration", partial(_play, options, screen), options.json, screen.say)


def _play(options: DemoOptions, screen: Screen) -> Facts:
    base = load_settings()
    with placed("demo", options.data_dir, keep=options.keep, given=_given(base)) as place:
        screen.say(f"servers: {'embedded' if place.servers else 'given'}; folder: {place.folder}")
        found = interruptible(partial(_whole, options, base, place, screen))
    screen.report(found)
    return found


def _given(base: Settings) -> Urls | None:
    """The servers that the settings name; without any, the demonstration starts its own."""
    if not (base.database_url or base.redis_url or base.cache_redis_url):
        return None
    queue = require(base.redis_url, "REDIS_URL")
    cache = base.cache_redis_url.get_secret_value() if base.cache_redis_url else queue
    return Urls(require(base.database_url, "DATABASE_URL"), queue, cache)


async def _whole(options: DemoOptions, base: Settings, place: Place, screen: Screen) -> Facts:
    async with database_of_its_own(place) as database_url, keys_of_its_own(place) as prefix:
        await migrate(database_url, domain)
        assert domain.sample_data is not None  # noqa: S101 - this domain has some
        with screen.progress("sample data") as told:
            rows = await domain.sample_data.load(database_url, options.seed, options.users, told)
        screen.say(f"sample data: {', '.join(f'{count:,} {table}' for table, count in rows.items())}")
        urls = Urls(database_url, place.urls.queue, place.urls.cache)
        settings = scaled(base, domain, urls, prefix, options.time_scale)
        return await _on_stage(options, settings, place, screen)


async def _on_stage(options: DemoOptions, settings: Settings, place: Place, screen: Screen) -> Facts:
    folder = place.folder
    environment = {**environment_of(settings), "EXPORTS_DIR": str(folder / "exports")}
    worker = Slot("worker", options.worker_command, environment, folder, WORKER_READY)
    command = (*options.webapp_command, *WEBAPP_ARGUMENTS)
    webapp = Slot("webapp", command, environment, folder, WEBAPP_READY)
    async with Stoker.opened(settings, domain) as observer, started(worker, webapp):
        # As in a deployment: the worker first, and users once it has warmed the active ones.
        await worker.ready()
        await _quiet(observer, Lane.WARM)
        webapp.client.address = port = int(await webapp.ready())
        screen.say(f"web app: http://127.0.0.1:{port}; {options.rate:g} requests/s for {options.seconds:g} s")
        return await _drive(options, observer, (worker, webapp), folder / "exports", screen)


async def _drive(
    options: DemoOptions, observer: Stoker, processes: tuple[Slot, Slot], exports: Path, screen: Screen
) -> Facts:
    tally, rng = Tally(), Random(options.seed)  # noqa: S311 - a run can be repeated
    users = await workload.users(observer, rng)
    users.edits.ask_for_exports()
    newest = await newest_event(observer)
    stop_if_interrupted()
    driver = Driver([processes[1]], users, tally, rng)
    began = time.monotonic()
    async with screen.following(tally, options.seconds):
        await driver.run(options.seconds, options.rate)
    driven_s = time.monotonic() - began
    for process in processes:
        process.require_alive()
    if not await _quiet(observer, Lane.CHANGES, Lane.REFRESH, FILES):
        tally.note("not quiet", f"changes are still under way after {QUIET_WITHIN_S:.0f} s")
    await answers.compare(driver)
    servers = await Servers.ask(observer, exports, newest)
    return report(options, tally, servers, driven_s)


async def _quiet(stoker: Stoker, *which: Lane) -> bool:
    """Wait until events are applied, requests delivered and lanes idle; false if that takes too long."""
    give_up = time.monotonic() + QUIET_WITHIN_S
    while time.monotonic() < give_up:
        unsettled = (await backlog(stoker.engine)).unsettled + (await undelivered(stoker.engine)).count
        found = (await lanes.listing(stoker)).lanes
        if not unsettled and not any(found[lane].ready + found[lane].running for lane in which):
            return True
        await asyncio.sleep(POLL_S)
    return False
