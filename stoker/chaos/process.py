"""A worker or a web app under chaos: `python -m stoker.chaos.process worker|webapp [--older]`.

It is the real one: the same settings, Stoker, engine, sweeper and schedule, and the application's own web
app. The audit in the queue's scripts, the jobs that misbehave and the poison event are added. It exits with
75 if a server that it needs at its start is away, so that its supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from stoker import Domain, Stoker
from stoker.chaos import audit, stacks
from stoker.chaos.surroundings import NOT_NOW, OLDER, WORKLOAD
from stoker.chaos.workload import load, load_workload
from stoker.domain import load_domain
from stoker.errors import Unavailable
from stoker.settings import Settings, load_settings
from stoker.telemetry import log


def main() -> None:
    """Run as the first argument says, until SIGTERM."""
    role = sys.argv[1]
    if "--older" in sys.argv:
        os.environ[OLDER] = "yes"
    settings = load_settings()
    log.configure(settings.log)
    domain = load_domain(settings.domain)
    doing = _work(settings, domain) if role == "worker" else _answer(settings, domain)
    audit.install()
    try:
        asyncio.run(doing)
    except Unavailable as error:
        sys.stderr.write(f"cannot start now: {error}\n")
        sys.exit(NOT_NOW)


async def _work(settings: Settings, domain: Domain) -> None:
    # Imported here: without it a web app starts in half the time.
    from stoker.worker.check import require_sound  # noqa: PLC0415
    from stoker.worker.process import run_worker  # noqa: PLC0415

    audit.install()  # in what was imported just now, too
    asked, now = _stop()
    await require_sound(settings, domain)
    async with Stoker.opened(settings, domain) as stoker:
        await run_worker(stoker, settings, asked, now)


async def _answer(settings: Settings, domain: Domain) -> None:
    # Imported here: a worker needs no web server.
    from stoker.chaos.aside import serve  # noqa: PLC0415

    app = load(load_workload(os.environ[WORKLOAD]).webapp, "app")
    audit.install()
    async with Stoker.opened(settings, domain) as stoker:
        await serve(app, stoker)


def _stop() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by a first and by a second SIGTERM, as by `stoker run`; the command line takes long to import."""
    stacks.write_when_asked()
    asked, now = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (now if asked.is_set() else asked).set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signalled)
    return asked, now


if __name__ == "__main__":
    main()
