"""Combines the API and the console. The application gets an open Stoker and neither opens nor closes it.

OpenAPI is at /api/openapi.json; the interactive pages are off, because they load from other hosts.
"""

from __future__ import annotations

from fastapi import FastAPI

from stoker.api import (
    cache,
    dead,
    events,
    failures,
    jobs,
    lanes,
    operations,
    overview,
    page,
    schedule,
    session,
    tokens,
    workers,
)
from stoker.api.access import Access
from stoker.api.limits import BodyLimit
from stoker.console.live import Live
from stoker.console.sessions import Sessions
from stoker.operations.overview import overview as read_overview
from stoker.operations.tokens import Tokens
from stoker.settings import Settings
from stoker.stoker import Stoker


def create_app(stoker: Stoker, settings: Settings) -> FastAPI:
    """The API of an open Stoker."""
    app = FastAPI(
        title="Stoker",
        summary="Monitor and control a cache that a background worker keeps correct and warm.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would redirect to any Host that a request names
        telemetry={"tracing": False, "metrics": False, "logs": False},
        responses=failures.DOCUMENTED,
    )
    app.state.stoker = stoker
    app.state.reader = stoker.for_reading()
    app.state.settings = settings
    known = Tokens(settings.api.tokens, stoker.engine)
    sessions = Sessions(
        stoker.engine, stoker.queue, known, settings.api.session_s, settings.api.session_idle_s
    )
    # Cookies do not depend on the port: the id distinguishes two installations on one host.
    cookie = f"stoker_{stoker.installation}"
    app.state.access = Access(settings.api, known, sessions, cookie, stoker.queue)
    app.state.readiness = operations.Readiness(stoker, settings.api.probe_timeout_s)
    app.state.live = Live(lambda: _picture(stoker, settings))
    app.state.assets = page.load()
    app.add_middleware(BodyLimit, limit_bytes=settings.api.body_limit_bytes, limit_s=settings.api.body_s)
    app.add_middleware(page.StrictHeaders)
    failures.install(app)
    # `dead` goes before `jobs`, whose route takes any name in that place as a job's id.
    for module in (
        cache,
        events,
        lanes,
        dead,
        jobs,
        schedule,
        overview,
        workers,
        session,
        tokens,
        operations,
        page,
    ):
        app.include_router(module.router)
    return app


async def _picture(stoker: Stoker, settings: Settings) -> str:
    return (await read_overview(stoker, settings.api.probe_timeout_s)).model_dump_json()
