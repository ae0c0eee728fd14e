"""A link with traps for single calls: they are held, lost, torn, counted, or answered by the link itself."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field

from sqlalchemy import URL

from stoker.chaos.link import Link, Passage, url_of_postgres


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
    """What happens to the next request that contains `command`, or, with `times`, to the next few."""

    command: bytes
    held: Held = field(default_factory=Held)
    holds_request: bool = False
    holds_reply: bool = False
    loses_request: bool = False
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
        """Check what was sent."""
        self.count += data.count(self.command)
        self._more.set()


class TrappedLink(Link):
    """A link on which a test sets traps."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(url, tls)
        self._traps: list[Trap] = []
        self._held: list[Held] = []
        self.counted: list[Counted] = []
        self.rewritten: tuple[re.Pattern[bytes], bytes] | None = None

    def say(self, data: bytes) -> None:
        """Send bytes to every client that it did not ask for."""
        for passage in self._passages:
            passage.client.write(data)

    def let_go(self) -> None:
        """Hold nothing any more: a test that ended early has left somebody waiting."""
        for held in self._held:
            held.release()

    def forget(self) -> None:
        """Remove every trap that has not been sprung."""
        self._traps.clear()

    def hold_request(self, command: str | bytes, times: int = 1) -> Held:
        """Hold the next request with these bytes before the server sees it."""
        return self._trap(Trap(_bytes(command), holds_request=True, times=times)).held

    def hold_reply(self, command: str | bytes) -> Held:
        """Let the server carry out the next request with these bytes, and hold its reply."""
        return self._trap(Trap(_bytes(command), holds_reply=True)).held

    def lose_reply(self, command: str | bytes) -> Held:
        """Let the server carry out the next request with these bytes; then the connection is lost."""
        return self._trap(Trap(_bytes(command), loses_reply=True)).held

    def lose_request(self, command: str | bytes) -> Held:
        """Lose the connection at the next request with these bytes, before the server sees it."""
        return self._trap(Trap(_bytes(command), loses_request=True)).held

    def break_after_first(self, command: str | bytes) -> Held:
        """Of the next packet with these bytes, only the first command reaches the server."""
        return self._trap(Trap(_bytes(command), breaks_after_first=True)).held

    def answer(self, command: str | bytes, reply: bytes) -> None:
        """Answer the next request with these bytes here; the server never sees it."""
        self._trap(Trap(_bytes(command), answer=reply))

    def rewrite(self, pattern: bytes, by: bytes) -> None:
        """Replace this in every reply, as a proxy or another server would answer; the length must stay."""
        self.rewritten = re.compile(pattern), by

    def count(self, command: str | bytes) -> Counted:
        """Count requests with these bytes from now on."""
        self.counted.append(Counted(_bytes(command)))
        return self.counted[-1]

    def passage(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Passage:
        """A connection whose calls may spring traps."""
        return TrappedPassage(self, client, server)

    def spring(self, data: bytes) -> Trap | None:
        """The trap that a request springs, if any."""
        for trap in self._traps:
            if trap.command in data:
                trap.times -= 1
                if trap.times == 0:
                    self._traps.remove(trap)
                return trap
        return None

    def _trap(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        self._held.append(trap.held)
        return trap


class TrappedPassage(Passage):
    """One connection through such a link."""

    def __init__(self, link: TrappedLink, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        super().__init__(link, client, server)
        self._trapped = link
        self._sprung: list[Trap] = []

    async def up(self, data: bytes) -> bool:
        """Spring a trap of requests, and note one of replies."""
        for counted in self._trapped.counted:
            counted.see(data)
        trap = self._trapped.spring(data)
        if trap is not None and trap.answer:
            self.client.write(trap.answer)
            return True
        if trap is not None and trap.loses_request:
            trap.held.reached.set()
            return False
        if trap is not None and trap.holds_request:
            await trap.held.pass_by()
        elif trap is not None:
            self._sprung.append(trap)
        if trap is not None and trap.breaks_after_first:
            return await self._break(trap, data)
        return await super().up(data)

    async def down(self, data: bytes) -> bool:
        """Spring a trap of replies."""
        if self._trapped.rewritten is not None:
            pattern, by = self._trapped.rewritten
            data = pattern.sub(by, data)
        trap = self._sprung.pop(0) if self._sprung else None
        if trap is not None and trap.loses_reply:
            trap.held.reached.set()
            return False
        if trap is not None and trap.holds_reply:
            await trap.held.pass_by()
        return await super().down(data)

    async def _break(self, trap: Trap, data: bytes) -> bool:
        await self.travel()
        trap.held.reached.set()
        self.server.write(data[: data.index(b"\r\n*") + 2])
        await self.server.drain()
        await trap.held.released.wait()
        return False


async def link_to_postgres(url: URL) -> TrappedLink:
    """A link to the Postgres of this URL."""
    return await TrappedLink(url_of_postgres(url)).start()


def _bytes(command: str | bytes) -> bytes:
    return command.encode() if isinstance(command, str) else command
