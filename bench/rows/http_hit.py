"""A cached page over HTTP by FastAPI and `stoker.http`, as 200 and as 304, against constant answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench
from bench.pages import Page, pages
from bench.peer import OUR_PYTHON, running
from stoker.settings import LONGEST_TERM_MS

IDS = ("http-hit", "http-hit-304", "http-hit-get", "http-hit-term", "http-hit-304-term")
REQUESTS = 400
"""Of a block."""
NOTE = (
    "a page of 4 KB through a Unix socket on a kept connection, one request after the other; one process of "
    "FastAPI and uvicorn answers both; access is checked"
)
GET_NOTE = "what any round trip to Redis costs in such an endpoint; the GET checks nothing"
TERM_NOTE = "the same within a term: Redis is asked once a second"


class Client:
    """One connection to the application."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def get(self, path: str, page: Page, etag: bytes = b'""') -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        self._writer.write(
            b"GET /%b/%d HTTP/1.1\r\nHost: localhost\r\nX-User: %d\r\nIf-None-Match: %b\r\n\r\n"
            % (path.encode(), page.project, page.owner, etag)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = _header(head, b"content-length") if status == 200 else b"0"
        return status, head, await self._reader.readexactly(int(length))


async def measure(bench: Bench) -> list[Figure]:
    """The client asks for a page of 4 KB that is cached, without and with the version that it has."""
    return [
        *await _measured(bench, IDS[:3], NOTE, term_ms=0),
        *await _measured(bench, IDS[3:], TERM_NOTE, term_ms=LONGEST_TERM_MS),
    ]


async def _measured(bench: Bench, rows: Sequence[str], note: str, *, term_ms: int) -> list[Figure]:
    count = bench.scale.count(REQUESTS, least=20)
    async with bench.stoker(term_ms=term_ms) as stoker:
        await stoker.cache_term.keep()
        [page] = await pages(stoker, 1)
        async with _client(bench, page, term_ms) as client:
            _, head, body = await client.get("cached", page)
            assert body == page.body
            etag = _header(head, b"etag")

            async def block(path: str, status: int, etag: bytes = b'""') -> float:
                started = time.perf_counter()
                for _ in range(count):
                    found, _, _ = await client.get(path, page, etag)
                    assert found == status, f"{path} answers {found}"
                return (time.perf_counter() - started) / count * 1e6

            hit, constant, unmodified, unchanged, asked = await alternate(
                bench.scale.blocks,
                partial(block, "cached", 200),
                partial(block, "constant", 200),
                partial(block, "cached", 304, etag),
                partial(block, "unchanged", 304),
                partial(block, "asked", 200),
            )
    compared = (
        ("the same bytes, constant", "<= 1.15", hit, constant, note),
        ("a constant 304", "<= 1.15", unmodified, unchanged, ""),
        ("one redis-py GET of the same bytes", "", hit, asked, GET_NOTE),
    )
    return [
        Figure(row, against, "us", wanted, ours, theirs, said)
        for row, (against, wanted, ours, theirs, said) in zip(rows, compared, strict=False)
    ]


@asynccontextmanager
async def _client(bench: Bench, page: Page, term_ms: int) -> AsyncIterator[Client]:
    env = {**bench.env, "STOKER__CACHE__TERM_MS": str(term_ms)}
    with TemporaryDirectory(prefix="stoker-bench-") as folder:
        path = str(Path(folder) / "web")
        async with running("hits", python=OUR_PYTHON, env=env) as peer:
            await peer.ask("listen", path=path, body=page.body.decode())
            reader, writer = await asyncio.open_unix_connection(path)
            yield Client(reader, writer)
            writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    """The value of a header of an answer."""
    for line in head.split(b"\r\n"):
        given, _, value = line.partition(b": ")
        if given.lower() == name:
            return value
    raise LookupError(name)
