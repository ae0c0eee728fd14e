"""Stoker in a FastAPI or Starlette application: opened with it, found by its endpoints, its errors answered.

app = FastAPI(lifespan=lifespan(domain=domain))
install(app)

@app.get("/tickets/{ticket_id}")
async def ticket(ticket_id: int, request: Request, user: User) -> Response:
    return respond(await stoker_of(request).read("ticket", ticket_id, reader=user), request)
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from stoker.cache.reading import Reading
from stoker.domain import Domain
from stoker.errors import StokerError
from stoker.http.answers import answer
from stoker.http.failures import INTERNAL, failure
from stoker.settings import Settings
from stoker.stoker import Stoker

__all__ = ["install", "lifespan", "respond", "stoker_of"]

logger = logging.getLogger(__name__)


def lifespan(
    settings: Settings | None = None, domain: Domain | None = None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """The lifespan of an application: one Stoker for each process, made inside the event loop that uses it.

    The arguments are those of `Stoker.opened`. A lifespan of the application's own enters this one.
    """

    @asynccontextmanager
    async def opened(app: Starlette) -> AsyncIterator[None]:
        async with Stoker.opened(settings, domain) as stoker:
            app.state.stoker = stoker
            yield

    return opened


def stoker_of(request: Request) -> Stoker:
    """The Stoker of the application that serves a request; with FastAPI also as `Depends(stoker_of)`."""
    found: Stoker = request.app.state.stoker
    return found


def respond(reading: Reading, request: Request, *, vary: Sequence[str] = ()) -> Response:
    """The response to a reading; see `stoker.http.answer`."""
    found = answer(reading, _Asked(request.method, _Lists(request.headers)), vary=vary)
    response = Response(status_code=found.status)
    response.body = found.body
    # The headers are whole. Starlette would take twice as long to encode them and to look for missing ones.
    response.raw_headers = [
        (_encoded_name(name), value.encode("latin-1")) for name, value in found.headers.items()
    ]
    return response


class _Lists:
    """The headers of a request. A field in several lines is one list (RFC 9110, 5.3)."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def get(self, key: str, default: str, /) -> str:
        """The value of a header, or the default."""
        return ", ".join(self._headers.getlist(key)) or default


class _Asked(NamedTuple):
    method: str
    headers: _Lists


def install(app: Starlette) -> None:
    """Answer every StokerError that an endpoint raises; see `stoker.http.failure`."""
    app.add_exception_handler(StokerError, _refuse)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, StokerError)  # noqa: S101 - registered for nothing else
    found = failure(error)
    if found.status == INTERNAL:
        logger.error("http.failed", exc_info=error)
    return Response(found.body, found.status, found.headers)


@lru_cache(maxsize=32)
def _encoded_name(name: str) -> bytes:
    return name.lower().encode("latin-1")
