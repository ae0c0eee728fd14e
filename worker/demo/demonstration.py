"""One demonstration from start to end: stage, processes, traffic, comparison, report; then all is stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from stoker import Lane, Stoker, StokerError
from stoker.domain import load_domain
from stoker.embedded import Urls
from stoker.settings import Settings
from worker.demo import processes, verify
from worker.demo.client import HttpClient
from worker.demo.driver import Driver
from worker.demo.edits import Edits
from worker.demo.options import DemoOptions
from worker.demo.processes import Child, child
from worker.demo.report import Report, Servers, report
from worker.demo.screen import Screen
from worker.demo.stage import Stage, first_line, folder_and_servers, settings_of_this_process, staged
from worker.demo.tally import Tally
from worker.demo.traffic import Traffic
from worker.demo.world import read_world

DOMAIN = "jobs"
GOOD, BAD, INTERRUPTED = 0, 1, 130
WEBAPP_ARGUMENTS = ("--host", "127.0.0.1", "--port", "0", "--no-access-log", "--timeout-keep-alive", "75")


def demonstrate(options: DemoOptions) -> int:
    """See `worker.demo.run`."""
    screen = Screen()
    try:
        base = settings_of_this_process()
        with folder_and_servers(options, base) as place:
            screen.say(f"servers: {place[2]}; folder: {place[0]}")
            return asyncio.run(_interruptible(options, base, place, screen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.say("interrupted: everything is stopped")
        return INTERRUPTED
    except StokerError as error:
        screen.say(f"the demonstration could not run: {error}")
        return BAD
    except (OSError, SQLAlchemyError) as error:  # a full disk, before any server can say so
        screen.say(f"the demonstration could not run: {first_line(error)}")
        return BAD


async def _interruptible(
    options: DemoOptions, base: Settings, place: tuple[Path, Urls, str], screen: Screen
) -> int:
    me = asyncio.current_task()
    assert me is not None  # noqa: S101 - inside asyncio.run
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    async with staged(options, base, load_domain(DOMAIN), place, screen) as stage:
        found = await _on_stage(options, stage, screen)
    screen.report(found)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return BAD if found["failures"] else GOOD


async def _on_stage(options: DemoOptions, stage: Stage, screen: Screen) -> Report:
    environment, folder = stage.environment, stage.folder
    async with (
        Stoker.opened(stage.settings, load_domain(DOMAIN)) as observer,
        child("worker", options.worker_command, environment, folder) as worker,
        child("webapp", (*options.webapp_command, *WEBAPP_ARGUMENTS), environment, folder) as webapp,
    ):
        # As they are deployed: the worker first, and users when it has warmed what is active.
        await worker.ready(processes.WORKER_READY)
        await verify.quiet(observer, Lane.WARM)
        port = int(await webapp.ready(processes.WEBAPP_READY))
        screen.say(f"web app: http://127.0.0.1:{port}; {options.rate:g} requests/s for {options.seconds:g} s")
        return await _drive(options, observer, port, (worker, webapp), screen)


async def _drive(
    options: DemoOptions, observer: Stoker, port: int, children: tuple[Child, ...], screen: Screen
) -> Report:
    tally = Tally()
    async with observer.session() as session:
        world = await read_world(session)
    client = HttpClient(port)
    driver = Driver(client, world, Traffic(world, options.seed), tally)
    began = time.monotonic()
    try:
        async with screen.following(tally, options.seconds):
            await driver.run(options.seconds, options.rate, Edits(driver).one, options.until)
        driven_s = time.monotonic() - began
        for process in children:
            process.require_alive()
        if not await verify.quiet(observer, Lane.CHANGES, Lane.REFRESH):
            tally.note("not quiet", f"changes are still under way after {verify.QUIET_WITHIN_S:.0f} s")
        await verify.compare(driver)
    finally:
        await client.close()
    return report(options, tally, await Servers.ask(observer), driven_s)
