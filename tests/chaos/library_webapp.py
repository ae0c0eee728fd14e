"""A web app on the library, with the conventions of a workload: reads, and a write that numbers anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stoker import Applied, Stoker, StokerError, Unavailable
from tests.library import BookAdded, ShelfRenamed

RENAME = "UPDATE shelves SET label = (label::int + 1)::text WHERE id = :id RETURNING label"
REPLACE = "UPDATE books SET title = (title::int + 1)::text WHERE shelf_id = :id RETURNING title"


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with Stoker.opened() as stoker:
        app.state.stoker = stoker
        yield


async def read(request: Request) -> Response:
    """A view of a shelf, whoever asks."""
    view, shelf = request.path_params["view"], request.path_params["shelf"]
    bypass = request.query_params.get("bypass") == "1"
    reading = await request.app.state.stoker.read(view, shelf, bypass=bypass)
    headers = {"ETag": reading.etag, "X-Cache": reading.state}
    return Response(reading.body, media_type="application/json", headers=headers)


async def number_anew(request: Request) -> Response:
    """Change what a view of a shelf shows to the next number."""
    view, shelf = request.path_params["view"], request.path_params["shelf"]
    event = ShelfRenamed(shelf=shelf) if view == "label" else BookAdded(shelf=shelf)
    statement = text(RENAME if view == "label" else REPLACE)
    stoker: Stoker = request.app.state.stoker
    async with stoker.session() as session, session.begin():
        number = await session.scalar(statement, {"id": shelf})
        stoker.record(session, event)
        receipt = stoker.applied(session)
    try:
        applied = await receipt.applied()
    except Unavailable:
        applied = Applied.PENDING
    return JSONResponse({"transaction_id": receipt.transaction_id, "applied": applied, "number": int(number)})


async def refuse(_: Request, error: Exception) -> Response:
    status = 503 if isinstance(error, Unavailable) else 422
    return JSONResponse({"error": type(error).__name__, "message": str(error)}, status)


app = Starlette(
    routes=[
        Route("/{view}/{shelf}", read),
        Route("/{view}/{shelf}", number_anew, methods=["POST"]),
    ],
    exception_handlers={StokerError: refuse},
    lifespan=lifespan,
)
