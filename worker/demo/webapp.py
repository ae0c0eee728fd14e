"""A web app on Stoker, as small as one can be: this file reads, `webapp_writes.py` writes.

Run it with `uvicorn worker.demo.webapp:app` and `python -m stoker run`, with the same settings. Reads go
through the cache and fall back to SQL while Redis is away; without Postgres they are answered with 503.

It is a demonstration: it trusts the header `X-User`. A real app takes the user from its session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response

from stoker.http.starlette import install, lifespan, respond, stoker_of
from worker.demo import webapp_writes

app = FastAPI(
    title="Projects", lifespan=lifespan(), telemetry={"tracing": False, "metrics": False, "logs": False}
)


@dataclass
class Reader:
    """The reader, and how to read: `?bypass=1` answers from SQL."""

    request: Request
    user: int
    params: dict[str, str]
    bypass: bool

    async def read(self, view: str, scope_id: int) -> Response:
        """Answer with a view. Stoker checks who may read it before it returns, so before any 304 too."""
        stoker = stoker_of(self.request)
        reading = await stoker.read(view, scope_id, self.params, reader=self.user, bypass=self.bypass)
        return respond(reading, self.request, vary=("X-User",))


async def reader_of(request: Request, x_user: Annotated[int, Header()]) -> Reader:
    """The reader of a request."""
    # The other parameters of the URL belong to the view, which refuses unknown ones.
    params = dict(request.query_params)
    bypass = params.pop("bypass", "0") == "1"
    return Reader(request, x_user, params, bypass)


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


install(app)
