"""A job that only a newer release can run is parked while an older one runs beside it (row 30)."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import UnknownView
from stoker.jobs import JOBS, Lane
from stoker.queue.answers import Answer
from stoker.queue.enqueue import Queue
from tests.races.race import race
from tests.races.world import never
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Keyed, Stage, running, settled


@race("unknown job_types parked")
async def test_a_kind_of_a_newer_release_is_not_destroyed_by_an_older_one(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    """Row 30. It is parked, requests of its key join it, and the newer release runs it."""
    older = {kind: job for kind, job in JOBS.items() if kind != Keyed.kind}
    first = await queue.enqueue(Keyed(name="new"))
    async with running(queue, queue_url, Stage(), sql, job_types=older):
        await settled(queue, Lane.REFRESH, ready=0, running=0)
    never("the older release destroyed it", happened=not await queue.is_open(first.job_id))
    again = await queue.enqueue(Keyed(name="new"))
    assert (again.job_id, again.answer) == (first.job_id, Answer.COALESCED)
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.REFRESH, done=1, ready=0, deferred=0)
    assert stage.runs == [("new", 1)]


@race("jobs about unknown views parked")
async def test_a_view_of_a_newer_release_does_not_cost_its_job_the_life(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    """Row 30. Both releases have the job; only one has the view that it names."""
    older = Stage()
    older.acts["forecast"] = _unknown_view
    asked = await queue.enqueue(Keyed(name="forecast"))
    async with running(queue, queue_url, older, sql):
        await settled(queue, Lane.REFRESH, ready=0, running=0)
    never("the older release buried it", happened=not await queue.is_open(asked.job_id))
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.REFRESH, done=1, ready=0, deferred=0)
    assert stage.runs == [("forecast", 1)]


async def _unknown_view(_: int) -> str:
    raise UnknownView("no view 'forecast'", field="view")
