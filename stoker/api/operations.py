"""Routes for machines: Prometheus' /metrics, and the probes of the supervisor of this process.

The probes need no token and tell nothing else. /healthz: this process answers. /readyz: it can serve, which
needs a Postgres that accepts writes. A Redis that is away does not make a process unready, because a restart
would not help.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from stoker.api.access import TheAccess, Viewer
from stoker.api.context import OpenStoker, TheSettings
from stoker.operations.health import Health, examine, probes
from stoker.stoker import Stoker
from stoker.telemetry.metrics import CONTENT_TYPE, exposition

router = APIRouter(tags=["operations"])
PROBED_EVERY_S = 1.0
"""Seconds between two questions to Postgres: /readyz needs no token, so it may be called at any rate."""
PLAIN: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}


# `Response` as the class: errors of these routes are JSON like all others, only successes are text.
@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format.", **PLAIN}},
)
async def metrics(_: Viewer, stoker: OpenStoker, settings: TheSettings, access: TheAccess) -> Response:
    """All shared metrics; docs/operations/metrics.md has their units."""
    return Response(await exposition(stoker, settings, access.guesses.total), media_type=CONTENT_TYPE)


@router.get("/healthz", response_class=Response, responses={200: {"description": "It does.", **PLAIN}})
async def alive() -> Response:
    """Whether this process answers."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz",
    response_class=Response,
    responses={
        200: {"description": "It can.", **PLAIN},
        503: {"description": "Postgres does not answer, or accepts no writes.", "model": None, **PLAIN},
    },
)
async def ready(request: Request) -> Response:
    """Whether this process can serve: Postgres answered within the last second, and accepts writes."""
    readiness: Readiness = request.app.state.readiness
    found = await readiness.ok()
    return PlainTextResponse("ok\n" if found else "not ready\n", 200 if found else 503)


class Readiness:
    """Whether Postgres serves, asked once in PROBED_EVERY_S however many callers want to know."""

    def __init__(self, stoker: Stoker, timeout_s: float) -> None:
        self._stoker = stoker
        self._timeout_s = timeout_s
        self._asking: asyncio.Task[Health] | None = None
        self._again_at = 0.0

    async def ok(self) -> bool:
        """The last answer, or the next one if that is too old."""
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._again_at):
            self._again_at = time.monotonic() + PROBED_EVERY_S
            asked = {"database": probes(self._stoker)["database"]}
            self._asking = asyncio.create_task(examine(asked, self._timeout_s), name="readiness")
        # Shielded: a caller that goes away does not cancel the query for the others.
        return (await asyncio.shield(self._asking)).ok
