"""The worker's own HTTP endpoint, for machines: /metrics for Prometheus, /healthz for what restarts it.

Served from a thread with an event loop of its own, so that it answers even if the worker's loop is blocked:
/healthz is 503 once that loop has not turned for `STUCK_S`, or a part of the worker has stopped although it
could go on. It needs no token and must not be reachable from outside (worker.metrics_host).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from threading import Thread

from prometheus_client import CollectorRegistry, make_asgi_app
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from stoker.errors import StokerError
from stoker.settings import ProcessSettings
from stoker.telemetry.serving import Places, Server, listen, server

Stuck = Callable[[], Sequence[str]]
"""Names the parts of the worker that have stopped; called from the endpoint's thread."""
BEAT_S = 1
CONNECTIONS = 64
"""Connections at once: a scraper, and whatever probes."""
HEAD_S = 5.0
"""Seconds for the head of a request."""
GRACE_S = 1
"""Seconds that open requests get when the endpoint stops."""
STUCK_S = 20
"""Seconds without a turn of the event loop after which the process should be restarted: longer than any
statement or call may block it, and shorter than people would take to notice."""


class EndpointRefused(StokerError):
    """The worker cannot listen on worker.metrics_port."""


class Pulse:
    """When the event loop last turned."""

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
    host, port = settings.metrics_host.strip("[]"), settings.metrics_port
    try:
        taken = listen(host, port)
    except OSError as error:
        raise EndpointRefused(
            f"cannot listen on {host} port {port} (worker.metrics_port): {error.strerror}"
        ) from error
    pulse = Pulse()
    serving = server(
        application(registry, pulse, stuck), Places(CONNECTIONS, HEAD_S), timeout_graceful_shutdown=GRACE_S
    )
    thread = Thread(target=_serve, args=(serving, taken), name="metrics", daemon=True)
    thread.start()
    beating = asyncio.create_task(pulse.run(), name="pulse")
    try:
        yield
    finally:
        beating.cancel()
        serving.should_exit = True
        await asyncio.to_thread(thread.join)


def application(registry: CollectorRegistry, pulse: Pulse, stuck: Stuck) -> ASGIApp:
    """The ASGI application: two paths, and 404 for the rest."""
    metrics = make_asgi_app(registry)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/metrics":
            await metrics(scope, receive, send)
            return
        told = PlainTextResponse("/metrics and /healthz are here\n", 404)
        if scope["path"] == "/healthz":
            parts = stuck() if pulse.alive() else ["the event loop"]
            told = (
                PlainTextResponse(f"stuck: {', '.join(parts)}\n", 503) if parts else PlainTextResponse("ok\n")
            )
        await told(scope, receive, send)

    return answer


def _serve(serving: Server, taken: socket.socket) -> None:
    with taken:
        asyncio.run(serving.serve(sockets=[taken]))
