"""Brings jobs that were requested in transactions from Postgres to the queue, once each.

The process that commits a request delivers it at once (queue/bells.py). The worker's sweeper makes sure of
it: a request stays undelivered until the queue has acknowledged its job to a worker. What was delivered
before is delivered again under the same id, which the queue remembers for a day. When the queue has lost its
data, what it had is delivered again, except jobs that have ended (docs/decisions/0017). Requests and recorded
events never wait for each other.
"""

from __future__ import annotations

import logging
from importlib.resources import files
from typing import Any

from sqlalchemy import text, update

from stoker.domain import Domain
from stoker.jobs.arq_call import payload_of
from stoker.postgres import database_errors
from stoker.queue import wire
from stoker.queue.packing import BYTES_PER_CALL, Request, clock_ms
from stoker.stoker import Stoker
from stoker.tables import job_requests

logger = logging.getLogger(__name__)

CLAIM = text(files("stoker.handlers").joinpath("claim_requests.sql").read_text())
LIVES = text(
    "SELECT min(delivered_to), max(delivered_to) FROM stoker.job_requests WHERE delivered_to IS NOT NULL"
)
"""Whether there are delivered requests, and whether all of them went to one life: two look-ups in an index,
which Postgres would not use without the condition."""
RESET = text(files("stoker.handlers").joinpath("reset_lost.sql").read_text())
BATCH = 500
RESET_BATCH = 5000
KEPT_S = 23 * 3600
"""Age up to which a request is delivered again: an hour less than the queue remembers its id."""
BYTES = BYTES_PER_CALL
"""Bytes of arguments in one transaction: a call that timed out each time would hold up all later requests."""


async def deliver_lost_too(stoker: Stoker) -> int:
    """The same as `deliver_all`, with what another life of the queue had: the sweeper's way."""
    await reset_lost(stoker)
    return await deliver_all(stoker)


async def reset_lost(stoker: Stoker) -> int:
    """Make requests undelivered that the queue may have lost; returns how many.

    The queue is asked for its life only while there are delivered requests: without any it can lose none.
    Raises QueueUnavailable or DatabaseUnavailable.
    """
    with database_errors():
        async with stoker.engine.connect() as connection:
            delivered_to = set((await connection.execute(LIVES)).one()) - {None}
    if not delivered_to or delivered_to == {life := await stoker.queue.life.ask()}:
        return 0
    lost, judged = 0, RESET_BATCH
    while judged:
        with database_errors():
            async with stoker.engine.begin() as connection:
                asked = {"life": life, "batch": RESET_BATCH, "kept_s": KEPT_S}
                judged, of_them = (await connection.execute(RESET, asked)).one()
        lost += of_them
    if lost:
        logger.warning("requests.delivered_again", extra={"requests": lost, "life": life})
    return lost


async def deliver_all(stoker: Stoker) -> int:
    """Deliver what is committed; returns how many. Raises QueueUnavailable or DatabaseUnavailable."""
    delivered, is_more = 0, True
    while is_more:
        batch, is_more = await _deliver_batch(stoker)
        delivered += batch
    return delivered


async def _deliver_batch(stoker: Stoker) -> tuple[int, bool]:
    """How many were delivered, and whether there may be more."""
    with database_errors():
        async with stoker.engine.begin() as connection:
            rows = (await connection.execute(CLAIM, {"batch": BATCH, "bytes": BYTES})).all()
            if rows:
                # Known before the delivery: data that is erased in between counts as lost.
                life = await stoker.queue.life.ask()
                await stoker.queue.deliver([_request(row, stoker.domain) for row in rows if not row.ended])
                await connection.execute(
                    update(job_requests)
                    .where(job_requests.c.seq.in_([row.seq for row in rows]))
                    .values(delivered_at=text("clock_timestamp()"), delivered_to=life)
                )
    return len(rows), bool(rows) and (rows[0].locked == BATCH or rows[0].locked > len(rows))


def _request(row: Any, domain: Domain) -> Request:  # noqa: ANN401 - a row of the table
    if ":" in row.lane:  # the queue of an arq application
        serialize = domain.arq_application.serialize if domain.arq_application else wire.serialize
        said = row.arguments
        payload = payload_of(serialize, row.kind, said["args"], said["kwargs"], clock_ms())
    else:
        payload = wire.encode_parts(row.kind, row.arguments, row.flag, alone=row.alone, fair=row.fair)
    return Request(
        job_id=row.job_id,
        lane=row.lane,
        payload=payload,
        flag=row.flag,
        due_ms=None if row.due_at is None else round(row.due_at.timestamp() * 1000),
        trace=row.trace,
    )
