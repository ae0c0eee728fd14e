"""Puts the API together. The application gets an open Stoker and neither opens nor closes it.

OpenAPI is at /api/openapi.json; the interactive pages are off, because they load from other hosts.
"""

from __future__ import annotations

from fastapi import FastAPI

from jobs.stoker import Stoker
from worker.api import cache, failures, jobs, operations
from worker.api.access import Access
from worker.api.limits import BodyLimit
from worker.settings import WorkerSettings


def create_app(stoker: Stoker, settings: WorkerSettings) -> FastAPI:
    """The API of a Stoker that is open."""
    app = FastAPI(
        title="Stoker",
        summary="See and steer a cache that a background worker keeps correct and warm.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        responses=failures.DOCUMENTED,
    )
    app.state.stoker = stoker
    app.state.settings = settings
    app.state.access = Access(settings.api)
    app.add_middleware(BodyLimit, limit_bytes=settings.api.body_limit_bytes)
    failures.install(app)
    for module in (cache, jobs, operations):
        app.include_router(module.router)
    return app
