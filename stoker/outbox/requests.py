"""Jobs that are requested in a transaction: a row beside the caller's own, delivered after the commit.

Touches no Redis before the outermost commit. Rolled back, the row never existed. A doorbell that cannot be
rung costs latency only: the worker looks for undelivered requests every second.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from stoker import tracing
from stoker.errors import BadRequest, QueueUnavailable
from stoker.jobs import Deliver, Job
from stoker.outbox.pending import Pending
from stoker.postgres import database_errors
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.queue.packing import REQUESTED_ID, request_id
from stoker.tables import job_requests

NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The character as JSON writes it, which jsonb refuses, and not a backslash before `u0000`."""


class Requests:
    """Requests jobs in sessions, and rings after their commits; made in the loop that rings."""

    def __init__(self, queue: Queue, engine: AsyncEngine) -> None:
        self._queue = queue
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._ringing: asyncio.Task[None] | None = None
        self._again = False

    def add(self, session: Session, pending: Pending, job: Job, due_at: datetime | None) -> str:
        """Add the row; returns the job's id. Raises BadRequest for a job that no worker would read."""
        said: dict[str, Any] = {
            "job_id": request_id(),
            "lane": str(job.lane),
            "kind": job.kind,
            "arguments": wire.arguments_of(job),
            "flag": wire.digest(job),
            "alone": job.one_at_a_time,
            "fair": wire.fair_mark(job),
            "due_at": due_at,
            "trace": tracing.current(),
        }
        written = wire.encode_checked(
            job.kind, said["arguments"], said["flag"], alone=said["alone"], fair=said["fair"]
        )
        if NUL.search(written):
            raise BadRequest(f"{job.kind}: Postgres stores no text with a NUL character", field="job")
        pending.add_request(session, said, self.ring)
        return str(said["job_id"])

    def ring(self) -> None:
        """Ask for a delivery, from any thread, without waiting for it."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: the worker looks by itself
            self._loop.call_soon_threadsafe(self._ring_soon)

    async def is_on_its_way(self, job_id: str) -> bool:
        """Whether the job is requested and not in the queue yet; raises DatabaseUnavailable."""
        if not job_id.startswith(REQUESTED_ID):
            return False
        waits = job_requests.c.job_id == job_id, job_requests.c.delivered_at.is_(None)
        with database_errors():
            async with self._engine.connect() as connection:
                return await connection.scalar(select(job_requests.c.seq).where(*waits)) is not None

    async def close(self) -> None:
        """Wait for the ring that is under way."""
        if self._ringing is not None:
            await asyncio.wait([self._ringing])

    def _ring_soon(self) -> None:
        # Commits that come while a ring is under way share the next one.
        self._again = True
        if self._ringing is None or self._ringing.done():
            self._ringing = self._loop.create_task(self._ring(), name="ring for requests")

    async def _ring(self) -> None:
        while self._again:
            self._again = False
            with contextlib.suppress(QueueUnavailable):
                await self._queue.enqueue(Deliver())
