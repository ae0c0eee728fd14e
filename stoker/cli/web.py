"""Serves the API on a port that is bound before anything else starts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from stoker.api import create_app
from stoker.errors import StokerError
from stoker.history.sampling import keep_sampling
from stoker.settings import ApiSettings, Settings
from stoker.stoker import Stoker
from stoker.telemetry.serving import Places, listen, server

CLOSE_S = 2
"""Seconds for what ran beside the API to end: a silent Postgres may hold it up."""
GRACE_S = 5
"""Seconds that open requests may take when the API stops."""


class AddressRefused(StokerError):
    """The API cannot listen on its address."""


@contextmanager
def listening(settings: ApiSettings) -> Iterator[socket.socket]:
    """The socket of the settings' address; raises AddressRefused."""
    try:
        taken = listen(settings.host.strip("[]"), settings.port)
    except OSError as error:
        raise AddressRefused(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; choose another with "
            "--port or STOKER__API__PORT"
        ) from error
    with taken:
        yield taken


def address(taken: socket.socket) -> str:
    """Where a browser finds the socket."""
    host, port = taken.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def serve(stoker: Stoker, settings: Settings, taken: socket.socket, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set."""
    app = create_app(stoker, settings)
    proxies = list(settings.api.trusted_proxies)
    serving = server(
        app,
        Places(settings.api.connections, settings.api.head_s),
        # By default uvicorn trusts the address that any client on this machine claims in a header.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_graceful_shutdown=GRACE_S,
    )

    async def leave() -> None:
        await stop.wait()
        await app.state.live.close()  # streams never end by themselves
        serving.should_exit = True

    every = timedelta(seconds=settings.worker.history_every_s)
    beside = [asyncio.create_task(leave()), asyncio.create_task(keep_sampling(stoker, every))]
    try:
        await serving.serve(sockets=[taken])
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside, timeout=CLOSE_S)
