"""What a term of 100 ms adds to the time from the commit of a change until it is applied."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

from sqlalchemy import text

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench, NotThere
from jobs.events import UserChanged
from stoker import Applied, Stoker

IDS = ("change-applied-term",)
TERM_MS = 100
CHANGES = 20
"""Of a block."""
SET_TERM = text("UPDATE stoker.cache_term SET term_ms = :term_ms, longest_ms = :term_ms")
"""Both at once, as no reader of this bench serves by the old term."""
SETTLED = text(
    "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM stoker.cache_events WHERE id = :id"
)
NOTE = (
    "one change after the other, from the answer to its COMMIT to Postgres' own time of the commit that "
    "settles it; in all {:.1f} ms at the median, and {:.1f} ms without a term"
)


async def measure(bench: Bench) -> list[Figure]:
    """The same worker applies all changes; it waits for the term that Postgres names."""
    count = bench.scale.count(CHANGES, least=3)
    async with bench.stoker() as stoker, bench.worker(stoker):

        async def block(term_ms: int) -> float:
            async with stoker.engine.begin() as connection:
                await connection.execute(SET_TERM, {"term_ms": term_ms})
            return median([await _applied_ms(stoker, user) for user in range(1, count + 1)])

        slower, faster = await alternate(bench.scale.blocks, partial(block, TERM_MS), partial(block, 0))
    added = [one - other for one, other in zip(slower, faster, strict=True)]
    terms = [float(TERM_MS)] * len(added)
    note = NOTE.format(median(slower), median(faster))
    return [Figure(IDS[0], "the term itself", "ms", "ours <= 102", added, terms, note)]


async def _applied_ms(stoker: Stoker, user: int) -> float:
    async with stoker.session() as session, session.begin():
        receipt = stoker.record(session, UserChanged(user_id=user))
    answered_s = time.time()
    if await receipt.applied() is not Applied.APPLIED:
        raise NotThere("the worker did not apply a change within two seconds")
    async with stoker.engine.connect() as connection:
        settled_s = float((await connection.execute(SETTLED, {"id": receipt.event_id})).scalar_one())
    return (settled_s - answered_s) * 1000
