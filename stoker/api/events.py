"""Routes under /api/events: recorded changes, and what followed from one. No payload is shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from stoker.api.access import Viewer
from stoker.api.context import ReadingStoker
from stoker.cache.view import LARGEST_ID
from stoker.operations import events
from stoker.operations.events import EventChoice, EventList, EventTrail

router = APIRouter(prefix="/api/events", tags=["events"])


@router.get("")
async def listing(_: Viewer, stoker: ReadingStoker, asked: Annotated[EventChoice, Query()]) -> EventList:
    """Events that match, the latest first; `next` is where the next page goes on."""
    return await events.listing(stoker, asked)


@router.get("/{id}")
async def trail(
    event_id: Annotated[int, Path(alias="id", ge=1, le=LARGEST_ID)], _: Viewer, stoker: ReadingStoker
) -> EventTrail:
    """One event: recorded, applied, refreshed, read; with times and who did it."""
    return await events.trail(stoker, event_id)
