"""SAQ on Redis, with its default settings."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from saq import Worker  # type: ignore[import-not-found] # lives in .bench-venv
from saq.queue.redis import RedisQueue  # type: ignore[import-not-found] # the same

from bench.peers.queueing import Tally, main


class Saq:
    """Its worker blocks on a list: no polling."""

    _queue: Any
    _tally: Tally

    async def open(self, queue_url: str, tally: Tally) -> None:
        """Connect."""
        self._queue = RedisQueue(Redis.from_url(queue_url), name="bench")
        self._tally = tally

    async def enqueue(self, key: str, enqueued_ns: int) -> None:
        """One job."""
        await self._queue.enqueue("job", unlink=key, enqueued_ns=enqueued_ns)

    async def work(self, *, max_jobs: int) -> None:
        """One worker."""
        await Worker(self._queue, functions=[("job", self._job)], concurrency=max_jobs).start()

    async def _job(self, _context: Any, *, unlink: str, enqueued_ns: int) -> None:  # noqa: ANN401 - SAQ's
        await self._tally.job(unlink, enqueued_ns)


if __name__ == "__main__":
    main(Saq())
