"""Requests of the console take no connection from writes or probes, and end in bounded time."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text

from stoker.history.job_rows import Filter, chosen
from stoker.settings import Settings
from stoker.stoker import Stoker
from tests.support.callers import OPERATOR, VIEWER, bearing, client

FAILURES = 20_000


async def test_questions_that_hang_end_and_hold_up_neither_writes_nor_probes(
    stoker: Stoker, settings: Settings
) -> None:
    """Guard: routes that only read have a pool of their own, whose statements Postgres ends."""
    api_settings = settings.api.model_copy(update={"read_timeout_s": 1.0})
    limited = settings.model_copy(update={"api": api_settings})
    stoker.settings = limited
    async with stoker.engine.connect() as locking, client(stoker, limited, VIEWER) as viewer:
        await locking.execute(text("LOCK TABLE stoker.job_history IN ACCESS EXCLUSIVE MODE"))
        asked = [asyncio.create_task(viewer.get("/api/jobs", params={"error": "boom"})) for _ in range(30)]
        await _until_waiting(stoker)
        paused = await viewer.post("/api/jobs/lanes/warm/pause", headers=bearing(OPERATOR))
        assert paused.status_code == 200
        assert (await viewer.get("/readyz")).status_code == 200
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {503}
        await locking.rollback()
    async with client(stoker, limited, VIEWER) as viewer:
        assert (await viewer.get("/api/jobs", params={"error": "boom"})).status_code == 200


async def _until_waiting(stoker: Stoker) -> None:
    """Until a question waits for the lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoker reader'"
        " AND datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(20):
        found = 0
        while not found:
            async with stoker.engine.connect() as connection:
                found = await connection.scalar(waiting) or 0


async def test_postgres_is_asked_once_however_many_probes_come(
    operator: httpx.AsyncClient, stoker: Stoker
) -> None:
    asked: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
        asked.append(statement)

    event.listen(stoker.engine.sync_engine, "before_cursor_execute", note)
    answers = await asyncio.gather(*(operator.get("/readyz") for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len([statement for statement in asked if "transaction_read_only" in statement]) == 1


@pytest.mark.parametrize("part", ["nothing like it", "100\\%_"])
async def test_searching_failures_by_error_takes_the_index(stoker: Stoker, part: str) -> None:
    async with stoker.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO stoker.job_history"
                " (job_id, lane, kind, outcome, failed, attempt, error, waited_s, ran_s, worker)"
                " SELECT n::text, 'warm', 'warm.v1', 'dead', true, 1, "
                " md5(n::text) || repeat(' went wrong', 20), 0, 0, 'w' FROM generate_series(1, :failures) n"
            ),
            {"failures": FAILURES},
        )
        await connection.execute(text("ANALYZE stoker.job_history"))

    engine = stoker.for_reading().engine

    def explained(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:  # noqa: ANN401 - the same
        return f"EXPLAIN {statement}", parameters

    async with engine.connect() as connection:
        mode = await connection.scalar(text("SHOW plan_cache_mode"))
        assert mode == "force_custom_plan", "after five searches Postgres would plan without what is searched"
    event.listen(engine.sync_engine, "before_cursor_execute", explained, retval=True)
    async with engine.connect() as connection:
        rows = await connection.execute(chosen(Filter(error=part), 50))
        plan = "\n".join(str(row[0]) for row in rows)
    assert "job_history_error" in plan
