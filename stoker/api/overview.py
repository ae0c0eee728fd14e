"""Routes of the whole picture: the overview once or as a stream, figures over time, who did what when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from stoker.api.access import TheAccess, Viewer
from stoker.api.context import OpenStoker, ReadingStoker, TheSettings
from stoker.api.failures import Refused
from stoker.cache.view import LARGEST_ID
from stoker.console.live import Live
from stoker.errors import Unavailable
from stoker.history.charts import Charts, Length, charts
from stoker.operations.audit import AuditList, audited
from stoker.operations.overview import overview as read_overview
from stoker.operations.picture import Overview
from stoker.operations.texts import Text64
from stoker.settings import Role

router = APIRouter(prefix="/api", tags=["overview"])

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RETRY_MS = 1000


@router.get("/overview")
async def overview(_: Viewer, stoker: OpenStoker, settings: TheSettings) -> Overview:
    """Is the cache right, is it warm, is the worker keeping up."""
    return await read_overview(stoker, settings.api.probe_timeout_s)


async def _place(viewer: Viewer, request: Request) -> AsyncIterator[None]:
    """A place for a page that watches, held from before the answer starts until it has ended."""
    pictures: Live = request.app.state.live
    operator = viewer.role is Role.OPERATOR
    with pictures.place(viewer.actor.name, operator=operator) as given:
        if not given:
            message = "too many pages are open, for this token or for all tokens together: close some"
            raise Refused(503, "too_many_streams", message)
        yield


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events named `overview`."}},
)
async def live(_: Annotated[None, Depends(_place)], request: Request, access: TheAccess) -> StreamingResponse:
    """The overview as server-sent events, every second."""
    pictures: Live = request.app.state.live

    async def stream() -> AsyncIterator[str]:
        yield f"retry: {RETRY_MS}\n\n"
        async for picture in pictures.watch():
            try:
                await access.tokens.load()
                await access.identify(request)
            except Unavailable:
                pass  # The session goes on; the picture names the server that is away.
            except Refused:
                yield "event: signed_out\ndata: {}\n\n"
                return
            yield f"event: overview\ndata: {picture}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers=STREAM_HEADERS)


@router.get("/history")
async def history(_: Viewer, stoker: ReadingStoker, length: Length = Length.HOUR) -> Charts:
    """Figures over time, in steps of 1 minute (hour), 10 minutes (day), 6 hours (month) or 1 day (year)."""
    return await charts(stoker.engine, length)


@router.get("/audit")
async def audit(
    _: Viewer,
    stoker: ReadingStoker,
    actor: Text64 | None = None,
    action: Text64 | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
) -> AuditList:
    """What operators did, the latest first. `action` may be the first part of a name, such as `cache`."""
    return await audited(stoker.engine, actor or None, action or None, limit, before)
