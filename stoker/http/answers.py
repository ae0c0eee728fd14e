"""A reading as an HTTP response: entity tag, 304, content coding, and headers that keep it private."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from stoker.cache.reading import HEAVY_BYTES, Reading
from stoker.http.negotiation import chosen_coding, has_version, is_expected

GZIP_FROM_BYTES = 1024
"""Smaller bodies fit into one packet. Bodies above HEAVY_BYTES are not compressed here either: that would
hold up the event loop for milliseconds."""
GZIP_LEVEL = 1
NOT_MODIFIED, PRECONDITION_FAILED = 304, 412
READS = ("GET", "HEAD")


class Headers(Protocol):
    """The headers of a request; names are compared without regard to case."""

    def get(self, key: str, default: str, /) -> str:
        """The value of a header, or the default. Lines of one name are one list, as WSGI joins them."""


class Request(Protocol):
    """What `answer` reads of a request. Those of Starlette, FastAPI, Flask and Django have it."""

    @property
    def method(self) -> str:
        """The method, in capitals."""

    @property
    def headers(self) -> Headers:
        """The headers."""


class HttpAnswer(NamedTuple):
    """A response for any framework."""

    status: int
    headers: dict[str, str]
    body: bytes


def answer(reading: Reading, request: Request, *, vary: Sequence[str] = ()) -> HttpAnswer:
    """The response to a request for this reading; Stoker has checked the right to read it.

    200 with the JSON body, or 304 without one if the client has this version (`If-None-Match`), or 412 if it
    wants another one only (`If-Match`); both of `GET` and `HEAD` alone. The body goes out as zstd if it is
    stored so and the client takes it, else as gzip if the client takes that. `HEAD` gives the headers alone.
    `vary` names further request headers that the answer depends on.

    A browser may keep the answer and must ask again each time (`private, no-cache`): the right to read may
    have ended.
    """
    coding = chosen_coding(request.headers.get("Accept-Encoding", ""), _offered(reading))
    headers = {
        "ETag": reading.etag_in(coding),
        "Age": str(int(reading.age.total_seconds())),
        "Cache-Control": "private, no-cache",
        "Vary": ", ".join(("Accept-Encoding", *vary)),
        "X-Cache": reading.state.value,
    }
    if request.method in READS:
        if not is_expected(request.headers.get("If-Match", ""), headers["ETag"]):
            return HttpAnswer(PRECONDITION_FAILED, headers | {"Content-Length": "0"}, b"")
        if has_version(request.headers.get("If-None-Match", ""), headers["ETag"]):
            return HttpAnswer(NOT_MODIFIED, headers, b"")
    body = _encoded(reading, coding)
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    if coding is not None:
        headers["Content-Encoding"] = coding
    return HttpAnswer(200, headers, b"" if request.method == "HEAD" else body)


def _offered(reading: Reading) -> tuple[str, ...]:
    worthwhile = GZIP_FROM_BYTES <= reading.content.body_bytes <= HEAVY_BYTES
    made = ("gzip",) if worthwhile else ()
    return made if reading.content.zstd is None else ("zstd", *made)


def _encoded(reading: Reading, coding: str | None) -> bytes:
    if coding == "zstd" and reading.content.zstd is not None:
        return reading.content.zstd
    return gzip.compress(reading.body, GZIP_LEVEL, mtime=0) if coding == "gzip" else reading.body
