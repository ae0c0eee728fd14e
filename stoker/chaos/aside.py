"""The application's web app under chaos, with additional routes that only chaos uses.

They enqueue jobs that work and jobs that fail, request jobs in transactions, record a poison event, and
cancel reads before the answer.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import uvicorn
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker.chaos.acts import Poison
from stoker.chaos.effects import request
from stoker.chaos.surroundings import JOB, LEAVES_AFTER, POISON, REQUEST, SOCKET
from stoker.errors import DatabaseUnavailable, StokerError, Unavailable
from stoker.jobs import Job, parse
from stoker.stoker import Stoker

LEFT, OUTAGE, REFUSED = 499, 503, 422
STOP_WITHIN_S = 3


class Aside:
    """An ASGI app around the application's own."""

    def __init__(self, app: ASGIApp, stoker: Stoker) -> None:
        self._app = app
        self._own = {JOB: self._job, POISON: self._poison, REQUEST: self._request}
        self._stoker = stoker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the routes of chaos; pass other requests to the application."""
        own = self._own.get(scope["path"]) if scope["type"] == "http" else None
        if own is not None:
            response = await _said(own(await Request(scope, receive).json()))
            await response(scope, receive, send)
        elif scope["type"] == "http" and (patience := Headers(scope=scope).get(LEAVES_AFTER)):
            await self._left(float(patience), scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _left(self, after_s: float, scope: Scope, receive: Receive, send: Send) -> None:
        """Cancel the request after a time, as a server does whose client has gone."""
        try:
            async with asyncio.timeout(after_s) as patience:

                async def sent(message: Message) -> None:
                    patience.reschedule(None)  # it is answered already
                    await send(message)

                await self._app(scope, receive, sent)
        except TimeoutError:
            if not patience.expired():
                raise
            await Response(status_code=LEFT)(scope, receive, send)

    async def _job(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"job_id": (await self._stoker.enqueue(self._parsed(asked))).job_id}

    async def _request(self, asked: dict[str, Any]) -> dict[str, Any]:
        job = self._parsed(asked)
        said = await request(self._stoker, job, delay_s=asked["delay_s"], commits=asked["commits"])
        return {"job_id": said}

    async def _poison(self, asked: dict[str, Any]) -> dict[str, Any]:
        async with self._stoker.session() as session, session.begin():
            receipt = self._stoker.record(session, Poison(**asked))
        return {"event_id": receipt.event_id}

    def _parsed(self, asked: dict[str, Any]) -> Job:
        return parse(asked["kind"], asked["arguments"], self._stoker.domain.job_types)


async def serve(app: ASGIApp, stoker: Stoker) -> None:
    """Answer until SIGTERM; raises Unavailable if the application could not start."""
    config = uvicorn.Config(
        Aside(app, stoker),
        uds=os.environ[SOCKET],
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    server = uvicorn.Server(config)
    try:
        await server.serve()
    except SystemExit as error:  # uvicorn's, when the application could not start
        raise DatabaseUnavailable("the web app did not start; its log says why") from error


async def _said(doing: Any) -> Response:  # noqa: ANN401 - a coroutine
    try:
        return JSONResponse(await doing)
    except StokerError as error:
        status = OUTAGE if isinstance(error, Unavailable) else REFUSED
        return JSONResponse({"error": type(error).__name__, "message": str(error)}, status)
