"""The command `run`: the worker alone, without anything that serves the API."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stoker.cli.servers import DATA, Data, Embedded, session
from stoker.cli.signals import stopped_by_signals
from stoker.domain import Domain, load_domain
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.telemetry.traces import telemetry
from stoker.worker.check import require_sound
from stoker.worker.process import run_worker

Lanes = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="Run the jobs of these lanes only: `mail,changes`. Other workers run the rest."
    ),
]


def run(data: Data = DATA, lanes: Lanes = None, *, embedded: Embedded = False) -> None:
    """Run the worker until SIGTERM or Ctrl-C; a second signal does not wait for running jobs."""
    with session(embedded=embedded, data=data) as opened, telemetry("worker"):
        asyncio.run(_run(opened.settings, lanes))


async def _run(settings: Settings, lanes: str | None) -> None:
    domain = load_domain(settings.domain)
    only = () if lanes is None else _chosen(domain, lanes)
    with stopped_by_signals() as stop:
        await require_sound(settings, domain)
        async with Stoker.opened(settings, domain) as stoker:
            await run_worker(stoker, settings, stop.asked, stop.now, only)


def _chosen(domain: Domain, lanes: str) -> tuple[str, ...]:
    """The lanes of a list; raises UnknownLane for one that the domain does not have."""
    return tuple(str(domain.lane(name.strip())) for name in lanes.split(","))
