"""What machines ask: Prometheus' /metrics, and the probes of whatever runs this process.

The probes need no token and say nothing but whether: /healthz that this process answers, /readyz that it can
serve, which needs a Postgres that takes writes, and nothing else (a Redis that is away is shown, not a reason
to restart anything).
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from stoker.api.access import Viewer
from stoker.api.context import OpenStoker, TheSettings
from stoker.operations.health import examine, probes
from stoker.telemetry.metrics import CONTENT_TYPE, exposition

router = APIRouter(tags=["operations"])
PLAIN: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}


# `Response` as the class: errors of these routes are JSON like all others, only what succeeds is text.
@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format.", **PLAIN}},
)
async def metrics(_: Viewer, stoker: OpenStoker, settings: TheSettings) -> Response:
    """All shared metrics; docs/operations/metrics.md has their units."""
    return Response(await exposition(stoker, settings), media_type=CONTENT_TYPE)


@router.get("/healthz", response_class=Response, responses={200: {"description": "It does.", **PLAIN}})
async def alive() -> Response:
    """Whether this process answers at all."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz",
    response_class=Response,
    responses={
        200: {"description": "It can.", **PLAIN},
        503: {"description": "Postgres does not answer, or takes no writes.", "model": None, **PLAIN},
    },
)
async def ready(stoker: OpenStoker, settings: TheSettings) -> Response:
    """Whether this process can serve: Postgres answers, and takes writes."""
    asked = {"database": probes(stoker)["database"]}
    found = await examine(asked, settings.api.probe_timeout_s)
    return PlainTextResponse("ok\n" if found.ok else "not ready\n", 200 if found.ok else 503)
