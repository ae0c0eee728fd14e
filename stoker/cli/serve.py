"""Commands that stay and serve the API: `up` and `api`."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from stoker.cli.data import fill_if_empty
from stoker.cli.display import note, show
from stoker.cli.keeping import keeping
from stoker.cli.servers import DATA, Data, Embedded, Session, session, without_urls
from stoker.cli.signals import Stop, stopped_by_signals
from stoker.cli.web import address, listening, serve
from stoker.domain import Domain, load_domain
from stoker.errors import SettingsError
from stoker.migrate import migrate
from stoker.operations.first_token import FirstToken, first_token
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.telemetry.traces import telemetry
from stoker.worker.agreement import forget_caches
from stoker.worker.check import require_sound
from stoker.worker.process import run_worker

Host = Annotated[str | None, typer.Option(help="Address of the API; other than loopback it needs tokens.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the API; 0: any free port.")]
Cluster = Annotated[
    bool, typer.Option("--cluster", help="The cache that is started is a cluster of six Valkeys.")
]
NoSampleData = Annotated[bool, typer.Option("--no-sample-data", help="Load no sample data.")]


def up(
    data: Data = DATA,
    host: Host = None,
    port: Port = None,
    *,
    no_sample_data: NoSampleData = False,
    cluster: Cluster = False,
) -> None:
    """Start everything: servers if no URL is set, migrations, sample data, worker and API."""
    embedded = without_urls()
    if not embedded and cluster:
        raise SettingsError("--cluster is for servers that `stoker up` starts itself: leave the URLs unset")
    if not embedded:
        note(f"using the servers of the URLs that are set; without any, `stoker up` starts its own in {data}")
    with session(embedded=embedded, data=data, api=_given(host, port), cluster=cluster) as opened:
        with listening(opened.settings.api) as taken, telemetry("up"):
            asyncio.run(_up(opened, taken, data, sample_data=not no_sample_data))
        note("stopping the servers" if opened.owned else "stopped")


def api(data: Data = DATA, host: Host = None, port: Port = None, *, embedded: Embedded = False) -> None:
    """Serve the operators' API."""
    with (
        session(embedded=embedded, data=data, api=_given(host, port)) as opened,
        listening(opened.settings.api) as taken,
        telemetry("api"),
    ):
        asyncio.run(_serve(opened.settings, taken, data))


async def _serve(settings: Settings, taken: socket.socket, data: Path) -> None:
    domain = load_domain(settings.domain)
    with stopped_by_signals() as stop:
        await require_sound(settings, domain)
        async with Stoker.opened(settings, domain) as stoker:
            first = await first_token(stoker, settings, data)
            show(f"api      {address(taken)}/api/cache/health")
            _tell_console(taken, first)
            await serve(stoker, settings, taken, stop.asked)


async def _up(opened: Session, taken: socket.socket, data: Path, *, sample_data: bool) -> None:
    domain = load_domain(opened.settings.domain)
    with stopped_by_signals() as stop:
        await _unless_stopped(stop, _prepare(opened, domain, sample_data=sample_data))
        if stop.asked.is_set():
            return
        async with Stoker.opened(opened.settings, domain) as stoker:
            first = await first_token(stoker, opened.settings, data)
            _tell_addresses(opened, taken, first)
            with keeping(opened.owned):
                await _both(stoker, opened.settings, taken, stop)


async def _prepare(opened: Session, domain: Domain, *, sample_data: bool) -> None:
    for applied in await migrate(opened.database_url, domain, schema=opened.settings.database.schema_name):
        note(applied if applied.startswith(("made ", "dropped ")) else f"migrated {applied}")
    if opened.owned:
        await forget_caches(opened.settings)
    await require_sound(opened.settings, domain)
    if sample_data:
        await fill_if_empty(opened.database_url, domain)


async def _unless_stopped(stop: Stop, work: Any) -> None:  # noqa: ANN401 - a coroutine
    doing = asyncio.ensure_future(work)
    asked = asyncio.ensure_future(stop.asked.wait())
    await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if doing.done():
        doing.result()
        return
    doing.cancel()
    await asyncio.wait({doing})


async def _both(stoker: Stoker, settings: Settings, taken: socket.socket, stop: Stop) -> None:
    """Serve the API and run the worker; when one of them breaks, the other stops in order too."""
    api_gone = asyncio.Event()

    async def answer() -> None:
        try:
            await serve(stoker, settings, taken, stop.asked)
        finally:
            stop.asked.set()
            api_gone.set()

    async def work() -> None:
        try:
            await run_worker(stoker, settings, api_gone, stop.now)
        finally:
            stop.asked.set()

    for ended in await asyncio.gather(answer(), work(), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def _tell_console(taken: socket.socket, first: FirstToken | None) -> None:
    """Print the console's address. It contains the token of the first start once, and only on a terminal."""
    signed_in = first is not None and first.made and sys.stdout.isatty()
    show(f"console  {address(taken)}/" + (f"#token={first.token}" if first and signed_in else ""))
    if first is not None:
        show(f"token    in {first.file}, an operator's; others: stoker tokens add")


def _tell_addresses(opened: Session, taken: socket.socket, first: FirstToken | None) -> None:
    show(f"api      {address(taken)}/api/cache/health")
    _tell_console(taken, first)
    show(f"metrics  {address(taken)}/metrics")
    if opened.embedded:
        show("servers  paste this line where your application and other stoker commands run:")
        show(_exports(opened))
    show("Ctrl-C stops everything.")


def _exports(opened: Session) -> str:
    """The URLs of the servers and the domain as one line for a shell."""
    urls = {
        "DATABASE_URL": opened.settings.database_url,
        "REDIS_URL": opened.settings.redis_url,
        "CACHE_REDIS_URL": opened.settings.cache_redis_url,
    }
    given = (f"{name}={quote(url.get_secret_value())}" for name, url in urls.items() if url is not None)
    return f"export {' '.join(given)} STOKER__DOMAIN={quote(opened.settings.domain)}"


def _given(host: str | None, port: int | None) -> dict[str, object]:
    return {name: value for name, value in (("host", host), ("port", port)) if value is not None}
