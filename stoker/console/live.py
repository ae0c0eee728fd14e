"""The overview as a stream: made once a second while at least one page is open, whatever their number.

A slow page gets the newest picture, not a queue of old ones. A page gets its place before its answer starts;
some places are reserved for operators.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

EVERY_S = 1.0
MOST = 200
"""Pages that one process serves at once."""
OPERATORS = 20
"""The number of these places that are reserved for operators."""
MOST_OF_ONE = 20
"""Pages of one token, so that one token's pages cannot take all places."""

Picture = Callable[[], Awaitable[str]]


class Live:
    """One loop that makes pictures, and the pages that watch."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._watching: Counter[str] = Counter()
        self._latest: str | None = None
        self._changed = asyncio.Condition()
        self._loop: asyncio.Task[None] | None = None
        self._closed = False

    @contextmanager
    def place(self, who: str, *, operator: bool) -> Iterator[bool]:
        """A place for a page of a token while the context lasts; False: none is left."""
        most = MOST if operator else MOST - OPERATORS
        if self._watching[who] >= MOST_OF_ONE or self._watching.total() >= most:
            yield False
            return
        self._watching[who] += 1
        try:
            yield True
        finally:
            self._watching[who] -= 1
            if not self._watching[who]:
                del self._watching[who]

    async def watch(self) -> AsyncIterator[str]:
        """The latest picture now, and each new one, until `close`; only for a page that has a place."""
        seen: str | None = None
        if self._loop is None or self._loop.done():
            self._latest = None
            self._loop = asyncio.create_task(self._run(), name="live")
        while not self._closed:
            async with self._changed:
                while self._latest is seen and not self._closed:
                    await self._changed.wait()
                seen = self._latest
            if seen is not None and not self._closed:
                yield seen

    async def close(self) -> None:
        """End every stream, because the process stops."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _run(self) -> None:
        while self._watching.total() and not self._closed:
            try:
                latest = await self._picture()
            except Exception:
                # Only one picture is lost: the next one shows the state, and the streams must not end.
                log.exception("console.picture_failed")
            else:
                async with self._changed:
                    self._latest = latest
                    self._changed.notify_all()
            await asyncio.sleep(EVERY_S)
