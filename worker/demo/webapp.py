"""A web app on Stoker, as small as one can be: this file reads, `webapp_writes.py` writes.

Run it with `uvicorn worker.demo.webapp:app` and `python -m stoker run`, with the same settings. Reads go
through the cache and fall back to SQL while Redis is away; without Postgres they are answered with 503.

It is a demonstration: it trusts the header `X-User`. A real app takes the user from its session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse

from stoker import (
    BadRequest,
    CommittedNotApplied,
    Forbidden,
    NotFound,
    Reading,
    Stoker,
    StokerError,
    Unavailable,
)
from worker.demo import webapp_writes


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One Stoker for the life of the process, made inside the event loop that uses it."""
    async with Stoker.opened() as stoker:
        app.state.stoker = stoker
        yield


app = FastAPI(
    title="Projects", lifespan=lifespan, telemetry={"tracing": False, "metrics": False, "logs": False}
)


@dataclass
class Reader:
    """Who reads, what their browser has already, and how: `?bypass=1` leaves the cache alone."""

    stoker: Stoker
    user: int
    known: set[str]
    params: dict[str, str]
    bypass: bool

    async def read(self, view: str, scope_id: int) -> Response:
        """Answer with a view. Stoker checks who may read it before it returns, so before any 304 too."""
        reading = await self.stoker.read(view, scope_id, self.params, reader=self.user, bypass=self.bypass)
        if reading.etag in self.known:
            return Response(status_code=304, headers=_headers(reading))
        return Response(reading.body, media_type="application/json", headers=_headers(reading))


async def reader_of(
    request: Request, x_user: Annotated[int, Header()], if_none_match: Annotated[str, Header()] = ""
) -> Reader:
    """The reader of a request."""
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    # The other parameters of the URL belong to the view, which refuses unknown ones.
    params = dict(request.query_params)
    bypass = params.pop("bypass", "0") == "1"
    return Reader(request.app.state.stoker, x_user, known, params, bypass)


AReader = Annotated[Reader, Depends(reader_of)]


@app.get("/projects/{project_id}")
async def detail(project_id: int, reader: AReader) -> Response:
    """One project."""
    return await reader.read("detail", project_id)


@app.get("/projects/{project_id}/dashboard")
async def dashboard(project_id: int, reader: AReader) -> Response:
    """The project with all that its page sums up."""
    return await reader.read("dashboard", project_id)


@app.get("/projects/{project_id}/export")
async def export(project_id: int, reader: AReader) -> Response:
    """All that the project contains; `format` is json or csv."""
    return await reader.read("export", project_id)


@app.get("/users/me/projects")
async def projects(reader: AReader) -> Response:
    """The user's projects; filters `status`, `device_type`, `q`, and `limit`, `offset`."""
    return await reader.read("list", reader.user)


@app.get("/users/me/stats")
async def stats(reader: AReader) -> Response:
    """Figures over the user's projects."""
    return await reader.read("stats", reader.user)


@app.get("/users/me/search")
async def search(reader: AReader) -> Response:
    """What the user finds among their projects; `q`, `limit`."""
    reader.params["query"] = reader.params.pop("q", "")
    return await reader.read("search", reader.user)


@app.get("/health")
async def health() -> dict[str, bool]:
    """Up: Postgres has answered, and the event loop turns."""
    return {"ok": True}


app.include_router(webapp_writes.router)


def _headers(reading: Reading) -> dict[str, str]:
    return {
        "ETag": reading.etag,
        "Age": str(int(reading.age.total_seconds())),
        # A browser may store it, and must ask each time: the right to read can end at any moment.
        "Cache-Control": "private, no-cache",
        "Vary": "X-User",
        "X-Cache": reading.state,
    }


@app.exception_handler(StokerError)
async def refuse(_request: Request, error: StokerError) -> JSONResponse:
    """Every error of Stoker as JSON; its tree says what each means."""
    answer: dict[str, object] = {"error": type(error).__name__, "message": str(error)}
    match error:
        case Forbidden():
            return JSONResponse(answer, 403)
        case NotFound():
            return JSONResponse(answer, 404)
        case BadRequest():
            return JSONResponse({**answer, "field": error.field}, 422)
        case Unavailable():
            return JSONResponse(answer, 503, {"Retry-After": "1"})
        case CommittedNotApplied():  # committed, but not yet in effect: the answer must not claim it
            return JSONResponse({**answer, "event_id": error.event_id}, 503)
    return JSONResponse(answer, 500)
