"""The overview as a stream: looked at once a second, however many pages are open, and not at all with none.

A page that is slow gets the newest picture, not a queue of old ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

log = logging.getLogger(__name__)

EVERY_S = 1.0
MOST = 200
"""Pages that one process serves."""
MOST_OF_ONE = 20
"""Of them, those of one token: nobody's open pages keep the others from looking."""

Look = Callable[[], Awaitable[str]]


class Live:
    """One loop that looks, and everybody who watches."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._watching: Counter[str] = Counter()
        self._latest: str | None = None
        self._changed = asyncio.Condition()
        self._loop: asyncio.Task[None] | None = None
        self._closed = False

    def full(self, who: str) -> bool:
        """Whether no other page of a token can watch."""
        return self._watching[who] >= MOST_OF_ONE or self._watching.total() >= MOST

    async def watch(self, who: str) -> AsyncIterator[str]:
        """The latest picture now, and each new one, until `close`, for a page of a token."""
        self._watching[who] += 1
        seen: str | None = None
        try:
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
        finally:
            self._watching[who] -= 1
            if not self._watching[who]:
                del self._watching[who]

    async def close(self) -> None:
        """End every stream: the process stops."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _run(self) -> None:
        while self._watching.total() and not self._closed:
            try:
                latest = await self._look()
            except Exception:
                # One look of many: whoever watches is told again by the next, and must not be hung up on.
                log.exception("console.look_failed")
            else:
                async with self._changed:
                    self._latest = latest
                    self._changed.notify_all()
            await asyncio.sleep(EVERY_S)
