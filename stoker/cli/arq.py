"""The command `arq`: the worker of a domain with an arq application, with arq's own options."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stoker.cli.display import show
from stoker.cli.opened import NotDone
from stoker.cli.servers import DATA, Data, Embedded, session
from stoker.cli.signals import stopped_by_signals
from stoker.domain import Domain, load_domain
from stoker.errors import SettingsError
from stoker.jobs import LANES
from stoker.redis.pool import close_client, queue_client
from stoker.redis.queue import answering
from stoker.settings import Settings, require
from stoker.stoker import Stoker
from stoker.telemetry.traces import telemetry
from stoker.worker.arq.part import ArqPart
from stoker.worker.check import require_sound
from stoker.worker.process import run_worker

Burst = Annotated[
    bool, typer.Option("--burst", help="Stop when no job of the queue waits or runs, as arq's --burst does.")
]
Check = Annotated[
    bool,
    typer.Option("--check", help="Only check arq's health key: exit code 1 where no worker has written it."),
]


def arq(data: Data = DATA, *, burst: Burst = False, check: Check = False, embedded: Embedded = False) -> None:
    """Run the worker of an arq application: Domain(arq=WorkerSettings). It is `run` with arq's options."""
    needs = ("redis_url",) if check else ("database_url", "redis_url")
    with session(embedded=embedded, data=data, needs=needs) as opened:
        domain = load_domain(opened.settings.domain)
        if domain.arq_application is None:
            raise SettingsError(
                f"domain {domain.name}: it has no arq application: Domain(arq=WorkerSettings)"
            )
        if check:
            asyncio.run(_check(opened.settings, domain.arq_application.health_check_key))
            return
        with telemetry("worker"):
            asyncio.run(_run(opened.settings, domain, burst=burst))


async def _run(settings: Settings, domain: Domain, *, burst: bool) -> None:
    assert domain.arq_application is not None  # noqa: S101 - checked above
    with stopped_by_signals() as stop:
        await require_sound(settings, domain)
        async with Stoker.opened(settings, domain) as stoker:
            burst = burst or bool(domain.arq_application.options["burst"])
            part = ArqPart(domain.arq_application, settings, (*LANES, *domain.lanes), burst=burst)
            await run_worker(stoker, settings, stop.asked, stop.now, arq=part)


async def _check(settings: Settings, key: str) -> None:
    redis = queue_client(
        require(settings.redis_url, "REDIS_URL"), connections=1, wait_s=settings.queue.timeout_s
    )
    try:
        async with answering(settings.queue.timeout_s):
            found = await redis.get(key)
    finally:
        await close_client(redis)
    if found is None:
        raise NotDone(f"no worker has written {key} lately")
    show(found.decode(errors="replace"))
