"""What machines ask: Prometheus' /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response

from worker.api.access import Viewer
from worker.api.context import OpenStoker, TheSettings
from worker.metrics import CONTENT_TYPE, exposition

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=Response)
async def metrics(_: Viewer, stoker: OpenStoker, settings: TheSettings) -> Response:
    """All metrics in Prometheus' text format; see worker/metrics.py for their units."""
    return Response(await exposition(stoker, settings.api.probe_timeout_s), media_type=CONTENT_TYPE)
