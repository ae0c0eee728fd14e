"""Pruning: what is kept of events, of requests and of the ends of their jobs, and what a step costs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, text

from stoker import Prune, Stoker
from stoker.handlers import prune as pruning
from stoker.handlers.context import JobContext
from stoker.handlers.deliver import KEPT_S
from stoker.handlers.prune import prune
from stoker.queue.progress import Progress
from tests.library import domain
from tests.support.place import Place

OLD_S = {"of a request's day": KEPT_S + 3600 - 60, "older": 48 * 3600 + 60}
ENDED = text("INSERT INTO stoker.job_ends VALUES (:id, clock_timestamp() - make_interval(secs => :age_s))")

OLD, YOUNG = 5_000, 700
SETTLED = text("""
    INSERT INTO stoker.cache_events (kind, payload, scopes, settled_at)
    SELECT 'shelf.renamed', '{}', '[]', clock_timestamp() - make_interval(secs => :age_s - n * 0.001)
      FROM generate_series(1, :count) n
""")
YOUNGEST = text("""
    SELECT max(settled_at) FROM (
        SELECT settled_at FROM stoker.cache_events WHERE settled_at >= :after ORDER BY settled_at LIMIT 500
    ) AS step
""")


async def test_an_end_is_kept_longer_than_its_request_may_be_delivered_again(place: Place) -> None:
    async with Stoker.opened(place.settings(), domain) as stoker:
        async with stoker.engine.begin() as connection:
            await connection.execute(ENDED, [{"id": name, "age_s": age_s} for name, age_s in OLD_S.items()])
        context = JobContext(stoker, Progress(stoker.queue.redis, stoker.queue.settings), "prune", 1, None)
        await prune(context, Prune())
        async with stoker.engine.connect() as connection:
            kept = (await connection.scalars(text("SELECT job_id FROM stoker.job_ends"))).all()
    assert kept == ["of a request's day"]


async def test_a_step_of_pruning_begins_where_the_one_before_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 500)
    begun: list[datetime] = []

    def note(_connection: object, clause: object, _many: object, given: Any, _options: object) -> None:  # noqa: ANN401 - the driver's
        if "after" in given and "cache_events" in str(clause):
            begun.append(given["after"])

    async with Stoker.opened(place.settings(), domain) as stoker:
        async with stoker.engine.begin() as connection:
            await connection.execute(SETTLED, {"count": OLD, "age_s": 86400 + 3600})
            await connection.execute(SETTLED, {"count": YOUNG, "age_s": 3600})
        event.listen(stoker.engine.sync_engine, "before_execute", note)
        context = JobContext(stoker, Progress(stoker.queue.redis, stoker.queue.settings), "prune", 1, None)
        await prune(context, Prune())
        async with stoker.engine.connect() as connection:
            left = await connection.scalar(text("SELECT count(*) FROM stoker.cache_events"))
    assert left == YOUNG
    assert begun == sorted(set(begun))
    assert len(begun) >= OLD / 500, "steps walk past what earlier ones deleted"


async def test_a_step_of_pruning_costs_the_same_after_many_others(place: Place) -> None:
    """Deleted rows stay in the index until a vacuum."""
    blocks = []
    async with Stoker.opened(place.settings(), domain) as stoker:
        step = pruning.pruned(stoker.settings)[0].step.text
        given: dict[str, Any] = {"after": datetime.min.replace(tzinfo=UTC), "kept_s": 86400, "batch": 500}
        async with stoker.engine.begin() as connection:
            await connection.execute(SETTLED, {"count": OLD, "age_s": 86400 + 3600})
        for _ in range(OLD // 500):
            async with stoker.engine.begin() as connection:
                youngest = await connection.scalar(YOUNGEST, given)
                explained = await connection.scalar(
                    text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {step}"), given
                )
            given["after"] = youngest
            blocks.append(explained[0]["Plan"]["Shared Hit Blocks"])
    assert blocks[-1] <= blocks[0] * 1.5, blocks
