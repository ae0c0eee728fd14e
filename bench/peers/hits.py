"""A FastAPI application: a cached page with `stoker.http`, constant answers, and one from a plain key.

`python -m bench.peers.hits`; the environment names the servers.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, Response
from redis.asyncio import Redis
from starlette.requests import Request

from bench.peers.protocol import serve
from stoker import Stoker
from stoker.http.starlette import install, respond, stoker_of

KEPT_S = 600
"""A connection waits while the other sides take their turns."""
PLAIN_KEY = "plain:http"
app = FastAPI()
install(app)
User = Annotated[int, Header(alias="X-User")]


@app.get("/cached/{project}")
async def cached(project: int, user: User, request: Request) -> Response:
    """A page that its reader may see, or that the client has already."""
    return respond(await stoker_of(request).read("dashboard", project, reader=user), request)


@app.get("/constant/{project}")
async def constant(project: int, user: User, request: Request) -> Response:  # noqa: ARG001 - as above
    """The same bytes every time."""
    return Response(request.app.state.body, media_type="application/json")


@app.get("/asked/{project}")
async def asked(project: int, user: User, request: Request) -> Response:  # noqa: ARG001 - as above
    """The same bytes from a plain key: one round trip to Redis, and nothing is checked."""
    return Response(await request.app.state.redis.get(PLAIN_KEY), media_type="application/json")


@app.get("/unchanged/{project}")
async def unchanged(project: int, user: User, request: Request) -> Response:  # noqa: ARG001 - as above
    """No body, every time."""
    return Response(status_code=304)


class _Site:
    def __init__(self) -> None:
        self._serving: asyncio.Task[None] | None = None

    async def listen(self, path: str, body: str) -> None:
        """Serve on a Unix socket."""
        app.state.stoker = await Stoker.open()
        app.state.body = body.encode()
        app.state.redis = Redis.from_url(os.environ["CACHE_REDIS_URL"])
        await app.state.redis.set(PLAIN_KEY, body)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        config = uvicorn.Config(app, lifespan="off", log_level="warning", timeout_keep_alive=KEPT_S)
        self._serving = asyncio.create_task(uvicorn.Server(config).serve([listening]))


if __name__ == "__main__":
    serve(listen=_Site().listen)
