"""Serving the API with uvicorn, on a port that is taken before anything else starts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from stoker.api import create_app
from stoker.errors import StokerError
from stoker.stoker import Stoker
from stoker.worker.settings import ApiSettings, WorkerSettings

BACKLOG = 2048
GRACE_S = 5
"""Seconds that open requests get when the API stops."""


class AddressRefused(StokerError):
    """The API cannot listen where it should."""


class Server(uvicorn.Server):
    """uvicorn without signal handlers: the command decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command."""
        yield


@contextmanager
def listening(settings: ApiSettings) -> Iterator[socket.socket]:
    """The socket of the settings' address; raises AddressRefused."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # As TCP by name, else asyncio leaves Nagle's algorithm on: 40 ms more for answers on a kept connection.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, settings.port))
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
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


async def serve(stoker: Stoker, settings: WorkerSettings, taken: socket.socket, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set."""
    app = create_app(stoker, settings)
    proxies = list(settings.api.trusted_proxies)
    config = uvicorn.Config(
        app,
        # Left to itself, uvicorn believes whatever any client on this machine says of where it comes from.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config)

    async def leave() -> None:
        await stop.wait()
        await app.state.live.close()  # streams never end by themselves
        server.should_exit = True

    leaving = asyncio.create_task(leave())
    try:
        await server.serve(sockets=[taken])
    finally:
        leaving.cancel()
