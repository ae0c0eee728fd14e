"""taskiq on its Redis list broker: the fastest of its brokers (it loses jobs in a crash)."""

from __future__ import annotations

from typing import Any

from taskiq.api import run_receiver_task  # type: ignore[import-not-found] # lives in .bench-venv
from taskiq_redis import ListQueueBroker  # type: ignore[import-not-found] # the same

from bench.peers.queueing import Tally, main


class Taskiq:
    """No result backend: less work than with one."""

    _broker: Any
    _job: Any

    async def open(self, queue_url: str, tally: Tally) -> None:
        """Connect."""
        self._broker = ListQueueBroker(queue_url, queue_name="bench-taskiq")

        async def job(key: str, enqueued_ns: int) -> None:
            await tally.job(key, enqueued_ns)

        self._job = self._broker.register_task(job, task_name="job")
        await self._broker.startup()

    async def enqueue(self, key: str, enqueued_ns: int) -> None:
        """One job."""
        await self._job.kiq(key, enqueued_ns)

    async def work(self, *, max_jobs: int) -> None:
        """One worker."""
        await run_receiver_task(self._broker, max_async_tasks=max_jobs, validate_params=False)


if __name__ == "__main__":
    main(Taskiq())
