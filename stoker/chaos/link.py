"""A way from processes to a server that can be cut, frozen, silenced, slowed and torn.

It passes real bytes to a real server: what a link does to a call is what a network does to it. The tests have
a link of their own, derived from it, with traps for single calls.
"""

from __future__ import annotations

import asyncio
import ssl
from random import Random
from typing import Self
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL

CHUNK_BYTES = 1 << 20


class Link:
    """Listens on a TCP port of its own, with TLS or without, and forwards to the server of `url`."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = urlsplit(url)
        self._tls = tls
        self._passages: set[Passage] = set()
        self._silent: set[Passage] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._is_cut = False
        self.thaw = asyncio.Event()
        """Set unless the link is frozen. A passage keeps the one that it began with."""
        self.thaw.set()
        self.connected = 0
        self.delay_s = 0.0
        """How long a packet is on its way, in either direction."""
        self._tears: tuple[Random, float] | None = None

    @property
    def url(self) -> str:
        """Where a process connects to."""
        assert self._server is not None  # noqa: S101 - it was started
        scheme = "redis" if self._tls is None else "rediss"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def start(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES, ssl=self._tls
        )
        return self

    async def close(self) -> None:
        """Drop every connection and stop listening."""
        self.cut()
        self.thaw.set()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def lead_to(self, url: str) -> None:
        """Let new connections reach another server; those that there are stay where they are."""
        self._url = urlsplit(url)

    def cut(self) -> None:
        """Drop every connection; refuse new ones until `mend`."""
        self._is_cut = True
        self.drop()

    def drop(self) -> None:
        """Drop every connection; new ones are let through."""
        for passage in list(self._passages):
            passage.drop()

    def tear(self, rng: Random, share: float) -> None:
        """Of this share of packets, let half through and drop the connection, until `mend`."""
        self._tears = rng, share

    def mend(self) -> None:
        """Let connections through again, whole and without delay."""
        self._is_cut, self._tears, self.delay_s = False, None, 0.0
        self.thaw.set()

    def freeze(self) -> None:
        """Accept everything and answer nothing until `mend`."""
        self.thaw.clear()

    def silence(self) -> None:
        """Answer nothing more on the connections that there are; new ones are answered."""
        self._silent |= self._passages
        self.thaw.clear()
        self.thaw = asyncio.Event()
        self.thaw.set()

    def drop_silent(self) -> None:
        """Drop the connections that were silenced."""
        for passage in self._silent & self._passages:
            passage.drop()
        self._silent.clear()

    def tears_now(self) -> bool:
        """Whether the packet that passes is torn."""
        return self._tears is not None and self._tears[0].random() < self._tears[1]

    def passage(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Passage:
        """A connection that has been accepted."""
        return Passage(self, client, server)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self.connected += 1
        try:
            server_reader, server_writer = await self._connect()
        except OSError:  # the server is away
            writer.transport.abort()
            return
        passage = self.passage(writer, server_writer)
        self._passages.add(passage)
        both = {
            asyncio.create_task(passage.pump_up(reader)),
            asyncio.create_task(passage.pump_down(server_reader)),
        }
        self._pumps |= both
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._pumps -= both
            self._passages.discard(passage)
            passage.drop()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._url.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._url.path), limit=CHUNK_BYTES)
        return await asyncio.open_connection(
            self._url.hostname or "127.0.0.1", self._url.port or 6379, limit=CHUNK_BYTES
        )


class Passage:
    """One connection through a link. `up` and `down` say whether it goes on."""

    def __init__(self, link: Link, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.link = link
        self.client = client
        self.server = server
        self._thaw = link.thaw

    def drop(self) -> None:
        """End both halves at once."""
        for writer in (self.client, self.server):
            writer.transport.abort()

    async def pump_up(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the client sends, until the connection ends."""
        while (data := await reader.read(CHUNK_BYTES)) and await self.up(data):
            pass

    async def pump_down(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the server answers, until the connection ends."""
        while (data := await reader.read(CHUNK_BYTES)) and await self.down(data):
            pass

    async def up(self, data: bytes) -> bool:
        """Pass on what the client has sent."""
        await self.travel()
        return await self._pass_on(data, self.server)

    async def down(self, data: bytes) -> bool:
        """Pass on what the server has answered."""
        await self._delay()
        return await self._pass_on(data, self.client)

    async def travel(self) -> None:
        """Wait as a request waits on its way."""
        await self._delay()
        await self._thaw.wait()

    async def _delay(self) -> None:
        if self.link.delay_s:
            await asyncio.sleep(self.link.delay_s)

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        torn = self.link.tears_now()
        writer.write(data[: len(data) // 2] if torn else data)
        await writer.drain()
        return not torn


def url_of_postgres(url: URL) -> str:
    """The server of this URL, as a link takes it."""
    directory = url.query.get("host")
    port = url.port or url.query.get("port") or 5432
    return f"unix://{directory}/.s.PGSQL.{port}" if directory else f"tcp://{url.host}:{port}"


def through(link: Link, url: URL) -> URL:
    """The same database by way of the link."""
    _, _, port = link.url.removesuffix("/0").rpartition(":")
    return url.set(host="127.0.0.1", port=int(port), query={})
