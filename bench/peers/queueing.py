"""The task of each peer library: enqueue the one-command job, and run it in one worker process.

The job UNLINKs one key of the cache and records how long after its enqueueing it started. Client and worker
are two processes of the same script, `python -m bench.peers.<library>_jobs <queue URL> <cache URL>`. Imports
the standard library and redis only.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from redis.asyncio import Redis

from bench.blocks import at_rate
from bench.peers.protocol import serve

CLIENTS = 16
"""Enqueueings at once when a queue is filled."""


class Tally:
    """What the jobs of one block noted."""

    def __init__(self, cache_url: str) -> None:
        self._cache = Redis.from_url(cache_url)
        self._waited_us: list[float] = []
        self._ended = 0
        self._last_ns = 0
        self._wanted = 0
        self._enough = asyncio.Event()

    async def job(self, key: str, enqueued_ns: int) -> None:
        """The work of every job: one command, or nothing where there is no key."""
        self._waited_us.append((time.monotonic_ns() - enqueued_ns) / 1000)
        if key:
            await self._cache.unlink(key)
        self._ended += 1
        if self._ended >= self._wanted:
            self._last_ns = time.monotonic_ns()
            self._enough.set()

    def expect(self, count: int) -> None:
        """Begin a block of that many jobs."""
        self._waited_us, self._ended, self._wanted = [], 0, count
        self._enough.clear()

    async def ended(self, timeout_s: float) -> dict[str, Any]:
        """Wait for the last job; waits in microseconds, and the last end on the monotonic clock."""
        async with asyncio.timeout(timeout_s):
            await self._enough.wait()
        return {"waited_us": self._waited_us, "last_ns": self._last_ns}


class Library(Protocol):
    """A job library on its own Redis client."""

    async def open(self, queue_url: str, tally: Tally) -> None:
        """Connect, as client and as worker."""

    async def enqueue(self, key: str, enqueued_ns: int) -> None:
        """Enqueue one job, as an application does."""

    @property
    def work(self) -> Callable[..., Coroutine[Any, Any, None]]:
        """Run the worker until cancelled; each library takes options of its own."""


def main(library: Library) -> None:
    """Answer the driver."""
    serve(**_Role(library, *sys.argv[1:]).commands())


class _Role:
    def __init__(self, library: Library, queue_url: str, cache_url: str) -> None:
        self._library = library
        self._queue_url = queue_url
        self._cache_url = cache_url
        self._tally: Tally | None = None
        self._working: asyncio.Task[None] | None = None

    def commands(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        return {
            "fill": self.fill,
            "stream": self.stream,
            "work": self.work,
            "ended": self.ended,
            "rest": self.rest,
        }

    async def fill(self, keys: list[str]) -> float:
        """Enqueue one job a key as fast as it goes; seconds that it took."""
        await self._opened()
        started = time.perf_counter()
        left = iter(keys)

        async def client() -> None:
            for key in left:
                await self._library.enqueue(key, time.monotonic_ns())

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return time.perf_counter() - started

    async def stream(self, keys: list[str], per_second: float) -> dict[str, int]:
        """Enqueue at a fixed rate, whatever becomes of the jobs; when each was, in wall nanoseconds."""
        await self._opened()
        enqueued: dict[str, int] = {}

        async def one(key: str) -> None:
            enqueued[key] = time.time_ns()
            await self._library.enqueue(key, time.monotonic_ns())

        await at_rate(per_second, [partial(one, key) for key in keys])
        return enqueued

    async def work(self, count: int, **options: Any) -> int:  # noqa: ANN401 - each library's own
        """Start a worker for a block of `count` jobs; when, on the monotonic clock in nanoseconds."""
        tally = await self._opened()
        tally.expect(count)
        began = time.monotonic_ns()
        self._working = asyncio.create_task(self._library.work(**options))
        return began

    async def ended(self, timeout_s: float) -> dict[str, Any]:
        """What the block's jobs noted."""
        return await (await self._opened()).ended(timeout_s)

    async def rest(self) -> None:
        """Stop the worker."""
        assert self._working is not None
        self._working.cancel()
        await asyncio.gather(self._working, return_exceptions=True)

    async def _opened(self) -> Tally:
        if self._tally is None:
            self._tally = Tally(self._cache_url)
            await self._library.open(self._queue_url, self._tally)
        return self._tally
