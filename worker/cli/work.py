"""The command `run`: the worker alone, without anything that serves the API."""

from __future__ import annotations

import asyncio

from jobs.domain import load_domain
from jobs.stoker import Stoker
from worker.check import require_sound
from worker.cli.servers import DATA, Data, Embedded, session
from worker.cli.signals import stopped_by_signals
from worker.process import run_worker
from worker.settings import WorkerSettings
from worker.telemetry.traces import telemetry


def run(data: Data = DATA, *, embedded: Embedded = False) -> None:
    """Run the worker until SIGTERM or Ctrl-C; a second signal does not wait for running jobs."""
    with session(embedded=embedded, data=data) as opened, telemetry("worker"):
        asyncio.run(_run(opened.settings))


async def _run(settings: WorkerSettings) -> None:
    domain = load_domain(settings.domain)
    with stopped_by_signals() as stop:
        await require_sound(settings, domain)
        async with Stoker.opened(settings, domain) as stoker:
            await run_worker(stoker, settings, stop.asked, stop.now)
