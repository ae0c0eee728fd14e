"""Limits of request bodies, in bytes and seconds: 413 or 408 in the API's own shape, before anything is done.

FastAPI's own limit answers in plain text. Bodies here are small, so they are read whole, up to the limit.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker.api.failures import Failure, answer


class BodyLimit:
    """ASGI middleware: reads the body, at most `limit_bytes` and for at most `limit_s`, and passes it on."""

    def __init__(self, app: ASGIApp, limit_bytes: int, limit_s: float) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 408, or call the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        too_large = declared.isdecimal() and int(declared) > self._limit_bytes
        try:
            async with asyncio.timeout(self._limit_s):
                body = None if too_large else await self._read(receive)
        except TimeoutError:
            message = f"the body took longer than {self._limit_s:g} s"
            # Closed: the rest of the body must not be read as the next request.
            late = answer(408, Failure(error="too_slow", message=message), {"Connection": "close"})
            await late(scope, receive, send)
            return
        if body is None:
            message = f"the body is over {self._limit_bytes} bytes"
            await answer(413, Failure(error="too_large", message=message))(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    async def _read(self, receive: Receive) -> list[Message] | None:
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._limit_bytes:
                return None
            if message["type"] != "http.request" or not message.get("more_body", False):
                return messages


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    left = iter(messages)

    async def replay() -> Message:
        message = next(left, None)
        return await receive() if message is None else message

    return replay
