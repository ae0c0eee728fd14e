"""A dead job's letter is committed before the job leaves Redis: it is always in one of the two (row 40)."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stoker.chaos.link import through
from stoker.jobs import JOBS, Lane
from stoker.queue.enqueue import Queue
from stoker.settings import LaneSettings
from stoker.worker.engine.dead_letters import DeadLetters, Which
from stoker.worker.engine.runner import Engine, EngineSettings
from tests.races.race import race
from tests.races.world import never
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Stage, Work, running, settled
from tests.support.traps import TrappedLink, link_to_postgres

CLAIM_LIFE_S = 0.6
"""Short, so that the dead worker's job is soon another's."""


@pytest.fixture
async def link(database_url: str) -> AsyncIterator[TrappedLink]:
    """The dying worker's way to Postgres."""
    link = await link_to_postgres(make_url(database_url))
    yield link
    await link.close()


@asynccontextmanager
async def _dying(queue: Queue, url: str, stage: Stage, sql: AsyncEngine) -> AsyncIterator[None]:
    """A worker that is stopped at the end of the block at any point, without an orderly end."""
    settings = EngineSettings({Lane.WARM: LaneSettings(concurrency=1)}, claim_life_s=CLAIM_LIFE_S)
    engine = Engine(url, queue.settings, settings, run=stage.run, sql=sql, job_types=JOBS)
    task = asyncio.create_task(engine.run(asyncio.Event()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@race("letters before the end in Redis")
async def test_a_job_that_dies_while_postgres_is_away_does_not_vanish_with_its_worker(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, link: TrappedLink
) -> None:
    """Row 40. Its letter is due, Postgres does not answer, the worker is killed: another one buries it."""

    async def wrong(_: int) -> str:
        raise ValueError("wrong")

    stage.acts["wrong"] = wrong
    link.freeze()
    asked = link.count(b"user\0")
    lost = create_async_engine(through(link, sql.url), connect_args={"ssl": False})
    async with _dying(queue, queue_url, stage, lost):
        await queue.enqueue(Work(name="wrong"))
        await asked.reach(1)  # it asks Postgres for a connection: it is about to write the letter
    await lost.dispose()
    async with running(queue, queue_url, stage, sql, claim_life_s=CLAIM_LIFE_S):
        await settled(queue, Lane.WARM, ready=0, running=0)
    letters = [letter.reason for letter in await DeadLetters(sql).list(Which())]
    never("the job is neither in Redis nor among the dead", happened=letters == [])
    assert letters == ["failed"]
