"""Batches: those that are open and those that ended within a day, with how many jobs ended how.

Reads a bounded number, and no job. Raises QueueUnavailable.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from stoker.queue import batches
from stoker.queue.batches import Batch
from stoker.stoker import Stoker


class BatchShown(BaseModel):
    """Jobs that were enqueued together, and how many of them have ended how.

    `added` is less than `total` while they are being enqueued, or where their caller died meanwhile.
    `then_id` is the job that follows after the last one.
    """

    batch_id: str
    total: int
    added: int
    done: int
    failed: int
    cancelled: int
    unknown: int
    created_at: datetime
    ended_at: datetime | None
    then_id: str | None

    @classmethod
    def of(cls, batch: Batch) -> BatchShown:
        """A batch, without the ids of its members."""
        return cls(**{name: getattr(batch, name) for name in cls.model_fields})


class BatchList(BaseModel):
    """Open batches, then ended ones, the latest first."""

    batches: list[BatchShown]


async def listing(stoker: Stoker, limit: int) -> BatchList:
    """Batches that are open, and those that ended within a day."""
    return BatchList(batches=[BatchShown.of(one) for one in await batches.latest(stoker.queue, limit)])


async def of_job(stoker: Stoker, job_id: str) -> BatchShown | None:
    """The batch of which a job is a member, or which it follows."""
    found = await batches.batch_of_job(stoker.queue, job_id)
    return None if found is None else BatchShown.of(found)
