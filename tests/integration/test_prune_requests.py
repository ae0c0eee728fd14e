"""Pruning: what is kept of requests and of the ends of their jobs."""

from __future__ import annotations

from sqlalchemy import text

from stoker import Prune, Stoker
from stoker.handlers.context import JobContext
from stoker.handlers.deliver import KEPT_S
from stoker.handlers.prune import prune
from stoker.queue.progress import Progress
from tests.library import domain
from tests.support.place import Place

OLD_S = {"of a request's day": KEPT_S + 3600 - 60, "older": 48 * 3600 + 60}
ENDED = text("INSERT INTO stoker.job_ends VALUES (:id, clock_timestamp() - make_interval(secs => :age_s))")


async def test_an_end_is_kept_longer_than_its_request_may_be_delivered_again(place: Place) -> None:
    async with Stoker.opened(place.settings(), domain) as stoker:
        async with stoker.engine.begin() as connection:
            await connection.execute(ENDED, [{"id": name, "age_s": age_s} for name, age_s in OLD_S.items()])
        context = JobContext(stoker, Progress(stoker.queue.redis, stoker.queue.settings), "prune", 1, None)
        await prune(context, Prune())
        async with stoker.engine.connect() as connection:
            kept = (await connection.scalars(text("SELECT job_id FROM stoker.job_ends"))).all()
    assert kept == ["of a request's day"]
