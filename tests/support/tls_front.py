"""A TLS front for a Postgres without TLS, on loopback. It accepts a client's request for TLS.

The TLS and the server are real; the Postgres that the tests start is built without TLS. Without a certificate
the front refuses TLS, as such a server does.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

OPENSSL = shutil.which("openssl")
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


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()
