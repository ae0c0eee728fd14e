"""Stock arq."""

from __future__ import annotations

from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker, func

from bench.peers.queueing import Tally, main

QUEUE = "bench:arq"


class Arq:
    """Results are not kept: less work than arq's default."""

    _pool: ArqRedis
    _tally: Tally

    async def open(self, queue_url: str, tally: Tally) -> None:
        """Connect."""
        self._pool = await create_pool(RedisSettings.from_dsn(queue_url), default_queue_name=QUEUE)
        self._tally = tally

    async def enqueue(self, key: str, enqueued_ns: int) -> None:
        """One job."""
        await self._pool.enqueue_job("job", key, enqueued_ns)

    async def work(self, *, poll_s: float, max_jobs: int) -> None:
        """One stock worker; `poll_s` is arq's `poll_delay`."""

        async def job(_context: dict[Any, Any], key: str, enqueued_ns: int) -> None:
            await self._tally.job(key, enqueued_ns)

        worker = Worker(
            functions=[func(job, name="job", keep_result=0)],  # type: ignore[arg-type] # asks for *args
            queue_name=QUEUE,
            redis_pool=self._pool,
            poll_delay=poll_s,
            max_jobs=max_jobs,
            handle_signals=False,
            log_results=False,
        )
        await worker.main()


if __name__ == "__main__":
    main(Arq())
