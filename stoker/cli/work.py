"""The command `run`: the worker alone, without anything that serves the API."""

from __future__ import annotations

import asyncio

from stoker.cli.servers import DATA, Data, Embedded, session
from stoker.cli.signals import stopped_by_signals
from stoker.domain import load_domain
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.telemetry.traces import telemetry
from stoker.worker.check import require_sound
from stoker.worker.process import run_worker


def run(data: Data = DATA, *, embedded: Embedded = False) -> None:
    """Run the worker until SIGTERM or Ctrl-C; a second signal does not wait for running jobs."""
    with session(embedded=embedded, data=data) as opened, telemetry("worker"):
        asyncio.run(_run(opened.settings))


async def _run(settings: Settings) -> None:
    domain = load_domain(settings.domain)
    with stopped_by_signals() as stop:
        await require_sound(settings, domain)
        async with Stoker.opened(settings, domain) as stoker:
            await run_worker(stoker, settings, stop.asked, stop.now)
