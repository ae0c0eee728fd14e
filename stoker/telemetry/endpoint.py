"""The worker's own HTTP endpoint, for machines: /metrics for Prometheus, /healthz for what restarts it.

Served from threads, so that it answers whatever the event loop does: /healthz is 503 once the loop has not
come round for `STUCK_S`, or a part of the worker does not go on though it could. It needs no token and must
not be reachable from outside (worker.metrics_host).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from stoker.errors import StokerError
from stoker.worker.settings import ProcessSettings

Application = Callable[..., Iterable[bytes]]
Stuck = Callable[[], Sequence[str]]
"""Names the parts of the worker that do not go on; called from threads."""
BEAT_S = 1
POLL_S = 0.1
"""How long stopping the endpoint may take."""
STUCK_S = 20
"""Seconds without a turn of the event loop after which restarting the process is the better choice: longer
than any statement or call may block it, far shorter than anybody would notice by themselves."""


class EndpointRefused(StokerError):
    """The worker cannot listen on worker.metrics_port."""


class Pulse:
    """When the event loop last came round."""

    def __init__(self) -> None:
        self._beat = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_S)

    def alive(self) -> bool:
        """Whether the loop turns; callable from any thread."""
        return time.monotonic() - self._beat < STUCK_S


@asynccontextmanager
async def endpoint(
    registry: CollectorRegistry, settings: ProcessSettings, stuck: Stuck = tuple
) -> AsyncIterator[None]:
    """Serve while this lasts, unless worker.metrics_port is 0; raises EndpointRefused."""
    if not settings.metrics_port:
        yield
        return
    pulse = Pulse()
    try:
        server = make_server(
            settings.metrics_host,
            settings.metrics_port,
            application(registry, pulse, stuck),
            _Server6 if ":" in settings.metrics_host else _Server,
            handler_class=_Silent,
        )
    except OSError as error:
        raise EndpointRefused(
            f"cannot listen on {settings.metrics_host} port {settings.metrics_port} (worker.metrics_port): "
            f"{error.strerror}"
        ) from error
    thread = Thread(target=server.serve_forever, args=(POLL_S,), name="metrics", daemon=True)
    thread.start()
    beating = asyncio.create_task(pulse.run(), name="pulse")
    try:
        yield
    finally:
        beating.cancel()
        server.shutdown()
        server.server_close()
        await asyncio.to_thread(thread.join)


def application(registry: CollectorRegistry, pulse: Pulse, stuck: Stuck) -> Application:
    """The WSGI application: two paths, and 404 for the rest."""
    metrics: Application = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)
        status, body = "404 Not Found", b"/metrics and /healthz are here\n"
        if path == "/healthz":
            parts = stuck() if pulse.alive() else ["the event loop"]
            status, body = "200 OK", b"ok\n"
            if parts:
                status, body = "503 Service Unavailable", f"stuck: {', '.join(parts)}\n".encode()
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


class _Server(ThreadingWSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the signature is http.server's
        """Scrapes are not worth a line."""
