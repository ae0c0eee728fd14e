"""The count of requests and effects: what is missing, doubled or without a request is named."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from stoker.chaos.effects import EachTime, Once, make_tables
from stoker.chaos.requests import Requests, count

BOTH = {"once": Once.kind, "each": EachTime.kind}


@pytest.mark.parametrize(
    ("requested", "effects", "dead", "wrong"),
    [
        (("once", "each"), ("once", "each", "each"), (), []),
        (("once",), (), ("once",), []),
        (("once", "each"), ("once",), (), ["1 committed requests had no effect: each"]),
        (("once",), ("once", "once"), (), ["1 jobs that have their effect once had it more often: once"]),
        ((), ("once",), (), ["1 jobs ran although their request was rolled back: once"]),
    ],
)
async def test_what_is_wrong_is_said(
    database_url: str,
    requested: tuple[str, ...],
    effects: tuple[str, ...],
    dead: tuple[str, ...],
    wrong: list[str],
) -> None:
    sql = create_async_engine(database_url)
    await make_tables(sql)
    async with sql.begin() as connection:
        for job_id in requested:
            row = {"job_id": job_id, "kind": BOTH[job_id]}
            await connection.execute(text("INSERT INTO chaos_requests VALUES (:job_id, :kind)"), row)
        for job_id in effects:
            await connection.execute(
                text("INSERT INTO chaos_effects (job_id) VALUES (:job_id)"), {"job_id": job_id}
            )
        for job_id in dead:
            await connection.execute(
                text(
                    "INSERT INTO stoker.dead_jobs (job_id, lane, kind, reason, error, fingerprint, attempts)"
                    " VALUES (:job_id, 'effects', 'chaos.once.v1', 'quarantined', '', '', 3)"
                ),
                {"job_id": job_id},
            )
    found: Requests = await count(sql)
    await sql.dispose()
    assert found.wrong() == wrong
    assert found.duplicates == max(0, effects.count("each") - 1)
