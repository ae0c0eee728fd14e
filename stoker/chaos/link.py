"""A network link to a server that can be cut, frozen, slowed, torn, or held at a named command.

Chaos and the tests use it. It passes real bytes to a real server: what a link does to a call is what a
network does to it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from random import Random
from typing import Self
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL

CHUNK_BYTES = 1 << 20


class Held:
    """A named point at which a test holds whoever passes: wait for `reached`, then `release`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    def release(self) -> None:
        """Let everybody pass."""
        self.released.set()

    async def pass_by(self) -> None:
        """Say that the point is reached and wait."""
        self.reached.set()
        await self.released.wait()


@dataclass
class Trap:
    """A trap: what happens to the next request that contains `command`, or, with `times`, to the next few."""

    command: bytes
    held: Held = field(default_factory=Held)
    holds_request: bool = False
    holds_reply: bool = False
    loses_reply: bool = False
    breaks_after_first: bool = False
    answer: bytes = b""
    times: int = 1


class Counted:
    """Counts requests that contain some bytes; a test waits until it has seen enough."""

    def __init__(self, command: bytes) -> None:
        self.command = command
        self.count = 0
        self._more = asyncio.Event()

    async def reach(self, count: int) -> None:
        """Wait until the count is reached."""
        while self.count < count:
            self._more.clear()
            await self._more.wait()

    def see(self, data: bytes) -> None:
        """Count the commands in what was sent."""
        self.count += data.count(self.command)
        self._more.set()


class Link:
    """Listens on a TCP port of its own, with TLS or without, and forwards to the server of `url`."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = urlsplit(url)
        self._tls = tls
        self._traps: list[Trap] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._is_cut = False
        self._thaw = asyncio.Event()
        self._thaw.set()
        self.connected = 0
        self.delay_s = 0.0
        """How long a packet is on its way, in either direction."""
        self._tears: tuple[Random, float] | None = None
        self._counted: list[Counted] = []
        self._rewritten: tuple[re.Pattern[bytes], bytes] | None = None
        self._held: list[Held] = []

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
        self._thaw.set()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def lead_to(self, url: str) -> None:
        """Let new connections reach another server; existing ones stay with theirs."""
        self._url = urlsplit(url)

    def cut(self) -> None:
        """Drop every connection; refuse new ones until `mend`."""
        self._is_cut = True
        self.drop()

    def drop(self) -> None:
        """Drop every connection; new ones are let through."""
        for writer in list(self._writers):
            writer.transport.abort()

    def tear(self, rng: Random, share: float) -> None:
        """Of this share of packets, let half through and drop the connection, until `mend`."""
        self._tears = rng, share

    def mend(self) -> None:
        """Let connections through again, whole and without delay."""
        self._is_cut, self._tears, self.delay_s = False, None, 0.0
        self._thaw.set()

    def say(self, data: bytes) -> None:
        """Send every client bytes that it did not ask for."""
        for client in self._clients:
            client.write(data)

    def let_go(self) -> None:
        """Release everything that is held: a test that ended early may have left callers waiting."""
        for held in self._held:
            held.release()

    def forget(self) -> None:
        """Remove the traps that have not been sprung."""
        self._traps.clear()

    def freeze(self) -> None:
        """Accept connections and requests, and answer nothing until `mend`."""
        self._thaw.clear()

    def silence(self) -> None:
        """Answer nothing more on existing connections; new ones are answered."""
        self._silent |= self._writers
        self._thaw.clear()
        self._thaw = asyncio.Event()
        self._thaw.set()

    def drop_silent(self) -> None:
        """Drop the connections that were silenced."""
        for writer in self._silent & self._writers:
            writer.transport.abort()
        self._silent.clear()

    def hold_request(self, command: str | bytes, times: int = 1) -> Held:
        """Hold the next request with these bytes before the server sees it."""
        return self._trap(Trap(_bytes(command), holds_request=True, times=times)).held

    def hold_reply(self, command: str | bytes) -> Held:
        """Let the server carry out the next request with these bytes, and hold its reply."""
        return self._trap(Trap(_bytes(command), holds_reply=True)).held

    def lose_reply(self, command: str | bytes) -> Held:
        """Let the server carry out the next request with these bytes; then the connection is lost."""
        return self._trap(Trap(_bytes(command), loses_reply=True)).held

    def break_after_first(self, command: str | bytes) -> Held:
        """Of the next packet with these bytes, only the first command reaches the server."""
        return self._trap(Trap(_bytes(command), breaks_after_first=True)).held

    def answer(self, command: str | bytes, reply: bytes) -> None:
        """Answer the next request with these bytes here; the server never sees it."""
        self._trap(Trap(_bytes(command), answer=reply))

    def rewrite(self, pattern: bytes, by: bytes) -> None:
        """Replace these bytes in every reply, as a proxy might; the length must stay the same."""
        self._rewritten = re.compile(pattern), by

    def count(self, command: str | bytes) -> Counted:
        """Count requests with these bytes from now on."""
        self._counted.append(Counted(_bytes(command)))
        return self._counted[-1]

    def _trap(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        self._held.append(trap.held)
        return trap

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
        self._writers |= {writer, server_writer}
        self._clients.add(writer)
        sprung: list[Trap] = []
        up = asyncio.create_task(self._requests(reader, server_writer, writer, sprung))
        down = asyncio.create_task(self._replies(server_reader, writer, sprung))
        self._pumps |= {up, down}
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (up, down):
                one.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            self._pumps -= {up, down}
            self._writers -= {writer, server_writer}
            self._clients.discard(writer)
            for each in (writer, server_writer):
                each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._url.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._url.path), limit=CHUNK_BYTES)
        return await asyncio.open_connection(
            self._url.hostname or "127.0.0.1", self._url.port or 6379, limit=CHUNK_BYTES
        )

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        sprung: list[Trap],
    ) -> None:
        thaw = self._thaw
        while data := await reader.read(CHUNK_BYTES):
            for counted in self._counted:
                counted.see(data)
            trap = self._spring(data)
            if trap is not None and trap.answer:
                back.write(trap.answer)
                continue
            if trap is not None and trap.holds_request:
                await trap.held.pass_by()
            elif trap is not None:
                sprung.append(trap)
            await self._delay()
            await thaw.wait()
            if trap is not None and trap.breaks_after_first:
                trap.held.reached.set()
                writer.write(data[: data.index(b"\r\n*") + 2])
                await writer.drain()
                await trap.held.released.wait()
                return
            if not await self._pass_on(data, writer):
                return

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sprung: list[Trap]
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._rewritten is not None:
                pattern, by = self._rewritten
                data = pattern.sub(by, data)
            trap = sprung.pop(0) if sprung else None
            if trap is not None and trap.loses_reply:
                trap.held.reached.set()
                return
            if trap is not None and trap.holds_reply:
                await trap.held.pass_by()
            await self._delay()
            if not await self._pass_on(data, writer):
                return

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether all of it went through."""
        torn = self._tears is not None and self._tears[0].random() < self._tears[1]
        writer.write(data[: len(data) // 2] if torn else data)
        await writer.drain()
        return not torn

    async def _delay(self) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)

    def _spring(self, data: bytes) -> Trap | None:
        for trap in self._traps:
            if trap.command in data:
                trap.times -= 1
                if trap.times == 0:
                    self._traps.remove(trap)
                return trap
        return None


async def link_to_postgres(url: URL) -> Link:
    """A link to the Postgres of this URL."""
    directory = url.query.get("host")
    port = url.port or url.query.get("port") or 5432
    return await Link(
        f"unix://{directory}/.s.PGSQL.{port}" if directory else f"tcp://{url.host}:{port}"
    ).start()


def through(link: Link, url: URL) -> URL:
    """The URL of the same database through the link."""
    _, _, port = link.url.removesuffix("/0").rpartition(":")
    return url.set(host="127.0.0.1", port=int(port), query={})


def _bytes(command: str | bytes) -> bytes:
    return command.encode() if isinstance(command, str) else command
