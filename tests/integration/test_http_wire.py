"""What `stoker.http` answers, as bytes from uvicorn and from gunicorn, against RFC 9110."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.programs import program
from tests.support.web_apps import BODY, READING

ROOT = Path(__file__).parents[2]
SERVERS = {
    "fastapi": ("uvicorn", "tests.support.web_apps:fastapi_app", "--port", "0"),
    "flask": ("gunicorn", "tests.support.web_apps:flask_app", "--bind", "127.0.0.1:0"),
}
ANSWER_S = 60
ETAG, GZIP_ETAG = READING.etag, READING.etag_in("gzip")
CLOSE = {"Host": "localhost", "Connection": "close"}
LATER, LONG_AGO = "Fri, 01 Jan 2100 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"


class Said(NamedTuple):
    """An answer as it came."""

    version: bytes
    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    def one(self, name: str) -> str | None:
        """The value of a header that stands in one line, or None."""
        values = self.headers.get(name, [])
        assert len(values) <= 1, f"{name}: {values}"
        return values[0] if values else None


class Server(NamedTuple):
    """A web server that listens on a port."""

    port: int

    async def ask(
        self, *lines: str, method: str = "GET", path: str = "/page", version: str = "HTTP/1.1"
    ) -> Said:
        """Send a request with these lines; what the server answers until it closes."""
        standard = [f"{name}: {value}" for name, value in CLOSE.items()] if version == "HTTP/1.1" else []
        head = "\r\n".join([f"{method} {path} {version}", *standard, *lines, "", ""])
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(head.encode("latin-1"))
            said = await reader.read()
            writer.close()
            await writer.wait_closed()
        return _parsed(said)


def _parsed(said: bytes) -> Said:
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    version, status, *_ = first.split(b" ")
    return Said(version, int(status), headers, body)


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[Server]:
    """A web server with one of the applications."""
    async with program(ROOT, *SERVERS[name]) as web:
        yield Server(int((await web.until(r"http://127\.0\.0\.1:(\d+)"))[1]))


@pytest.mark.parametrize("name", SERVERS)
async def test_what_goes_over_the_wire_is_what_rfc_9110_says(name: str) -> None:
    async with serving(name) as server:
        await whole(server)
        await head(server)
        await not_modified(server)
        await codings(server)
        await preconditions(server)
        await ranges_and_old_clients(server)
        await errors(server)


async def whole(server: Server) -> None:
    said = await server.ask()
    assert (said.status, said.body) == (200, BODY)
    assert said.one("content-length") == str(len(BODY))
    assert said.one("content-type") == "application/json"
    assert said.one("etag") == ETAG
    assert said.one("cache-control") == "private, no-cache"
    assert said.one("vary") == "Accept-Encoding"
    assert said.one("content-encoding") is None
    assert said.one("date")


async def head(server: Server) -> None:
    """9.3.2: the same headers, and no byte of a body."""
    for lines in ((), ("Accept-Encoding: gzip",)):
        got, said = [await server.ask(*lines, method=method) for method in ("GET", "HEAD")]
        assert said.body == b""
        assert _without_date(said) == _without_date(got)


def _without_date(said: Said) -> tuple[int, Mapping[str, list[str]]]:
    return said.status, {name: value for name, value in said.headers.items() if name != "date"}


async def not_modified(server: Server) -> None:
    """15.4.5: with the headers that a cache updates, and none that describe a body."""
    for method in ("GET", "HEAD"):
        for tags in (
            [f"If-None-Match: {ETAG}"],
            [f"If-None-Match: W/{ETAG}"],
            ["If-None-Match: *"],
            ['If-None-Match: "x"', f"If-None-Match: {ETAG}"],
            [f'If-None-Match: "\xe9", {ETAG}'],
            [f"If-None-Match: {ETAG}", f"If-Modified-Since: {LONG_AGO}"],
        ):
            said = await server.ask(*tags, method=method)
            assert (said.status, said.body) == (304, b""), tags
            assert (said.one("etag"), said.one("vary")) == (ETAG, "Accept-Encoding")
            assert (said.one("cache-control"), bool(said.one("date"))) == ("private, no-cache", True)
            assert not said.headers.keys() & {"content-length", "content-type", "content-encoding"}
    said = await server.ask(f"If-None-Match: {GZIP_ETAG}", "Accept-Encoding: gzip")
    assert (said.status, said.one("etag")) == (304, GZIP_ETAG)


async def codings(server: Server) -> None:
    """12.5.3."""
    for lines, is_packed in (
        (["Accept-Encoding: gzip"], True),
        (["Accept-Encoding: zstd;q=0", "Accept-Encoding: gzip"], True),
        (["Accept-Encoding: br", "Accept-Encoding: identity;q=0.1, *"], True),
        (["Accept-Encoding:"], False),
        (["Accept-Encoding: identity;q=0"], False),
        (["Accept-Encoding: gzip;q=0.0, *;q=0"], False),
        (["Accept-Encoding: \xe9, gzip;q=often"], False),
    ):
        said = await server.ask(*lines)
        assert said.status == 200, lines
        assert (said.one("content-encoding") == "gzip") == is_packed, lines
        assert (gzip.decompress(said.body) if is_packed else said.body) == BODY
        assert said.one("content-length") == str(len(said.body))
        assert (said.one("etag"), said.one("vary")) == (GZIP_ETAG if is_packed else ETAG, "Accept-Encoding")


async def preconditions(server: Server) -> None:
    """13.2.2: in this order; dates count for nothing where nothing has one."""
    for lines, status in (
        (['If-Match: "x"'], 412),
        ([f"If-Match: W/{ETAG}"], 412),
        (['If-Match: "x"', f"If-Match: {ETAG}"], 200),
        (["If-Match: *"], 200),
        ([f"If-Match: {ETAG}", f"If-None-Match: {ETAG}"], 304),
        (['If-Match: "x"', f"If-None-Match: {ETAG}"], 412),
        ([f"If-Modified-Since: {LATER}"], 200),
        ([f"If-Unmodified-Since: {LONG_AGO}"], 200),
        (['If-None-Match: "x"', f"If-Modified-Since: {LATER}"], 200),
        ([f"If-None-Match: {GZIP_ETAG}"], 200),
        (['If-None-Match: "\xe9"'], 200),
    ):
        said = await server.ask(*lines)
        assert said.status == status, lines
        assert said.body == (BODY if status == 200 else b""), lines
    said = await server.ask("If-None-Match: *", "Content-Length: 0", method="POST")
    assert (said.status, said.body) == (200, BODY)


async def ranges_and_old_clients(server: Server) -> None:
    """14.2: a server may ignore Range. HTTP/1.0 has neither Host nor chunks."""
    for lines in (["Range: bytes=0-3"], ["Range: bytes=0-3", f"If-Range: {ETAG}"], ["Range: bytes=9999999-"]):
        said = await server.ask(*lines)
        assert (said.status, said.body, said.one("content-range")) == (200, BODY, None)
    said = await server.ask(version="HTTP/1.0")
    assert (said.status, said.body, said.one("content-length")) == (200, BODY, str(len(BODY)))
    assert said.one("transfer-encoding") is None
    said = await server.ask(f"If-None-Match: {ETAG}", version="HTTP/1.0")
    assert (said.status, said.body) == (304, b"")


async def errors(server: Server) -> None:
    """An error is not a version of anything, and nobody keeps it."""
    for lines in ((), ("If-None-Match: *",), ('If-Match: "x"',)):
        got, said = [await server.ask(*lines, method=method, path="/nowhere") for method in ("GET", "HEAD")]
        assert (got.status, said.status, said.body) == (404, 404, b"")
        assert (got.one("etag"), got.one("cache-control")) == (None, "no-store")
        assert got.one("content-length") == said.one("content-length") == str(len(got.body))
