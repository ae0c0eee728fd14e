"""TLS fronts for a Postgres and for a Valkey without TLS, on loopback.

The TLS and the servers are real; those that the tests start are built without TLS. Without a certificate the
front of Postgres refuses TLS, as such a server does.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from stoker.chaos.link import Link

OPENSSL = shutil.which("openssl")
TLS_HANDSHAKE = b"\x16"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
CHUNK_BYTES = 1 << 16


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for 127.0.0.1, and its key."""
    assert OPENSSL
    given, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(given)]
    subprocess.run([OPENSSL, "req", *made, *subject], check=True, capture_output=True)  # noqa: S603  # no shell
    return given, key


@asynccontextmanager
async def front(database_url: str, of: tuple[Path, Path] | None) -> AsyncIterator[str]:
    """Serve; where it listens, as `host:port/database`."""
    asked = urlsplit(database_url)
    (host,), (port,) = (parse_qs(asked.query)[name] for name in ("host", "port"))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first == SSL_REQUEST:
            writer.write(b"S" if of else b"N")
            first = b""
            if of:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(*of)
                await writer.start_tls(context)
        behind_reader, behind = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        try:
            behind.write(first)
            await asyncio.gather(_pump(reader, behind), _pump(behind_reader, writer))
        finally:
            behind.close()

    calls: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        calls.add(call)
        # Tests expect some clients to break off here.
        with suppress(OSError, asyncio.IncompleteReadError):
            await accept(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"postgres@127.0.0.1:{server.sockets[0].getsockname()[1]}{asked.path}"
        await asyncio.gather(*calls)


class BothWays:
    """One port before a server that speaks no TLS: it takes TLS from clients, and passes on what is plain.

    So a Sentinel, which is built without TLS, too, names the port that clients reach over TLS.
    """

    def __init__(self, port: int, of: tuple[Path, Path]) -> None:
        """`port`: the server's, which may not run yet. `of`: the certificate and its key."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*of)
        self._port = port
        self.tls = Link(f"redis://127.0.0.1:{port}", context)
        self._server: asyncio.Server | None = None
        self._calls: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> Self:
        """Listen."""
        await self.tls.start()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def close(self) -> None:
        """Drop every connection and stop listening."""
        assert self._server is not None
        self._server.close()
        for writer in self._calls.values():
            writer.transport.abort()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self.tls.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls[call] = writer
        try:
            with suppress(OSError):
                await self._pass_on(reader, writer)
        finally:
            del self._calls[call]
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        port = urlsplit(self.tls.url).port if first == TLS_HANDSHAKE else self._port
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", port)
        try:
            behind.write(first)
            pumps = [
                asyncio.ensure_future(_pump(*ends)) for ends in ((reader, behind), (behind_reader, writer))
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            behind.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()
