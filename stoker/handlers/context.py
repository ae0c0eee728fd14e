"""What a running handler may use."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from stoker.errors import QueueUnavailable
from stoker.queue.batches import Batch
from stoker.queue.progress import Progress
from stoker.stoker import Stoker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobContext:
    """One run of one job. `attempt` counts from 1; `resources` is what the domain's `lifespan` made.

    `batch`: of the job that follows a batch (`then`), how many of its jobs ended how.
    """

    stoker: Stoker
    progress: Progress
    job_id: str
    attempt: int = 1
    resources: Any = None
    batch: Batch | None = None

    @property
    def logger(self) -> logging.Logger:
        """For the handler's own lines; each carries the job's id."""
        return logging.getLogger("stoker.job")

    async def report(self, done: int, total: int) -> None:
        """Report how far the job is. Best effort: nothing depends on progress."""
        try:
            await self.progress.report(self.job_id, done, total)
        except QueueUnavailable as error:
            logger.info("progress.not_reported", extra={"job_id": self.job_id, "error": str(error)})
