"""Jobs that are requested in a transaction: a row beside the caller's own, delivered after the commit.

Touches no Redis before the outermost commit. Rolled back, the row never existed. A doorbell that cannot be
rung costs latency only: the worker queries undelivered requests every second.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from stoker import tracing
from stoker.errors import BadRequest
from stoker.jobs import Job
from stoker.jobs.arq_call import ArqCall
from stoker.outbox.pending import Pending
from stoker.postgres import database_errors
from stoker.queue import wire
from stoker.queue.packing import Request, clock_ms, is_request_id, request_id
from stoker.tables import job_requests

NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL character in JSON, which jsonb refuses; an escaped backslash before `u0000` does not match."""


class Requests:
    """Requests jobs in sessions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def add(self, session: Session, pending: Pending, job: Job, due_at: datetime | None) -> str:
        """Add the row; returns the job's id. Raises BadRequest for a job that no worker would read."""
        said = _said_of_call(job) if isinstance(job, ArqCall) else _said_of(job)
        said |= {"job_id": request_id(), "lane": str(job.lane), "kind": job.kind}
        said |= {"due_at": due_at, "trace": tracing.current()}
        written = wire.encode_checked(
            job.kind, said["arguments"], said["flag"], alone=said["alone"], fair=said["fair"]
        )
        if b"u0000" in written and NUL.search(written):
            raise BadRequest(f"{job.kind}: Postgres stores no text with a NUL character", field="job")
        if isinstance(job, ArqCall):
            written = type(job).model_validate(said["arguments"]).payload(clock_ms())
        due_ms = None if due_at is None else round(due_at.timestamp() * 1000)
        request = Request(said["job_id"], said["lane"], written, said["flag"], due_ms, said["trace"])
        pending.add_request(session, said, request)
        return request.job_id

    async def is_on_its_way(self, job_id: str) -> bool:
        """Whether the job is requested and not in the queue yet; raises DatabaseUnavailable."""
        if not is_request_id(job_id):
            return False
        waits = job_requests.c.job_id == job_id, job_requests.c.delivered_at.is_(None)
        with database_errors():
            async with self._engine.connect() as connection:
                return await connection.scalar(select(job_requests.c.seq).where(*waits)) is not None


def _said_of(job: Job) -> dict[str, Any]:
    return {
        "arguments": wire.arguments_of(job),
        "flag": wire.digest(job),
        "alone": job.one_at_a_time,
        "fair": wire.fair_mark(job),
    }


def _said_of_call(job: ArqCall) -> dict[str, Any]:
    """As above, for a function of the arq application: its row is JSON, whatever the serializer is."""
    if job.job_id is not None:
        raise BadRequest(
            f"{job.kind}: leave out job_id: a request in a transaction gets its own", field="job"
        )
    try:
        arguments = json.loads(wire.serialize({"args": job.args, "kwargs": job.kwargs}))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest(
            f"{job.kind}: Postgres keeps its arguments as JSON: {error!s:.200}", field="job"
        ) from None
    return {"arguments": arguments, "flag": "", "alone": False, "fair": ""}
