"""Whether Postgres answers at all: a breaker for a server that is silent and closes no connection.

Every wait for Postgres is registered here. If an answer takes longer than half the deadline, a new connection
is opened as a probe. If the probe is answered, the server is only slow, and all waits go on. If it is not
answered in the other half, the waiting connections are dropped, which fails their statements, and new calls
are refused at once until a connection is answered again. Touches no Redis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

from stoker.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 1.0
"""Seconds between two probes of a silent server."""


class Droppable(Protocol):
    """A connection that can be dropped at once."""

    def terminate(self) -> None:
        """Close the socket; a call that waits for an answer on it gets an error."""


class Silence:
    """The breaker of one process. Make it inside the event loop that uses it."""

    def __init__(self, deadline_s: float) -> None:
        self._half_s = deadline_s / 2
        self._deadline_s = deadline_s
        self._ask: Callable[[], Awaitable[None]] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._waiting: set[Waiting] = set()
        self.reason: str | None = None
        """Why SQL is refused; None while it is not."""

    def asks(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Set the probe: it returns after any answer and raises DatabaseUnavailable without one."""
        self._ask = ask

    def refuse(self) -> None:
        """Raise DatabaseUnavailable while the server is silent."""
        if self.reason is not None:
            raise DatabaseUnavailable(self.reason)

    def waiting(self, connection: Droppable) -> Waiting:
        """A context manager around a wait for the server."""
        return Waiting(self, connection)

    async def close(self) -> None:
        """Stop probing."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _doubt(self) -> None:
        if self._ask is not None and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._find_out(self._ask))

    async def _find_out(self, ask: Callable[[], Awaitable[None]]) -> None:
        if await self._is_answered(ask):
            return
        self.reason = f"Postgres does not answer: nothing came within {self._deadline_s:g} s"
        logger.warning("postgres.silent", extra={"deadline_s": self._deadline_s})
        for one in list(self._waiting):
            one.connection.terminate()
        while not await self._is_answered(ask):  # noqa: ASYNC110 - nobody tells when it answers again
            await asyncio.sleep(ASK_AGAIN_S)
        logger.warning("postgres.answers_again")
        self.reason = None

    async def _is_answered(self, ask: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(self._half_s):
                await ask()
        except (DatabaseUnavailable, TimeoutError):
            return False
        return True


class Waiting:
    """One wait for an answer. While it lasts, the server is asked for a sign of life now and then."""

    __slots__ = ("_silence", "_timer", "connection")

    def __init__(self, silence: Silence, connection: Droppable) -> None:
        self._silence = silence
        self.connection = connection

    def __enter__(self) -> None:
        if self._silence.reason is not None:
            self.connection.terminate()  # it was taken before: no answer would come on it
        self._silence._waiting.add(self)  # noqa: SLF001 - two halves of one thing
        self._start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._silence._waiting.discard(self)  # noqa: SLF001 - the same

    def _start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._silence._half_s, self._doubt)  # noqa: SLF001 - the same

    def _doubt(self) -> None:
        self._silence._doubt()  # noqa: SLF001 - the same
        self._start()
