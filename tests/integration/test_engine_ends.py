"""The end of a requested job is in Postgres before the job leaves the queue."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stoker.chaos.link import through
from stoker.jobs import Job, Lane
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.queue.packing import Request, request_id
from stoker.worker.engine.notes import MOST
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Elsewhere, Stage, Work, eventually, running
from tests.support.traps import TrappedLink, link_to_postgres


@dataclass
class Away:
    """A Postgres that does not answer until it is back."""

    link: TrappedLink
    sql: AsyncEngine

    async def asked(self) -> None:
        """Wait until a worker has asked for a connection."""
        await self._asked.reach(1)

    def __post_init__(self) -> None:
        self.link.freeze()
        self._asked = self.link.count(b"user\0")


@pytest.fixture
async def away(database_url: str) -> AsyncIterator[Away]:
    url = make_url(database_url)
    link = await link_to_postgres(url)
    sql = create_async_engine(through(link, url), connect_args={"ssl": False})
    yield Away(link, sql)
    await sql.dispose()
    await link.close()


def request(job: Job) -> Request:
    payload = wire.encode_parts(job.kind, job.model_dump(mode="json"), "", alone=False)
    return Request(request_id(), str(job.lane), payload, "", None, None)


async def noted(sql: AsyncEngine) -> list[str]:
    async with sql.connect() as connection:
        return list((await connection.scalars(text("SELECT job_id FROM stoker.job_ends"))).all())


async def gone(queue: Queue, job_id: str) -> None:
    async def is_gone() -> bool:
        return not await queue.is_open(job_id)

    await eventually(is_gone)


async def test_it_stays_in_the_queue_while_postgres_does_not_answer(
    queue: Queue, queue_url: str, stage: Stage, away: Away
) -> None:
    async with running(queue, queue_url, stage, away.sql):
        await queue.deliver([one := request(Work())])
        await away.asked()
        plain = await queue.enqueue(Work(name="plain"))
        await gone(queue, plain.job_id)
        assert await queue.is_open(one.job_id)
        away.link.mend()
        await gone(queue, one.job_id)
    assert await noted(away.sql) == [one.job_id], "ends of other jobs are not noted"


async def test_a_worker_that_must_stop_gives_its_notes_up(
    queue: Queue, queue_url: str, stage: Stage, away: Away, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(queue, queue_url, stage, away.sql) as worker:
        await queue.deliver([one := request(Work())])
        await away.asked()
        await worker.stopped()
        assert not await queue.is_open(one.job_id), "or it would run once more"
    assert "engine.ends_not_noted" in caplog.messages


async def test_a_lane_claims_no_more_while_too_many_ends_wait(
    queue: Queue, queue_url: str, stage: Stage, away: Away
) -> None:
    async with running(queue, queue_url, stage, away.sql) as worker:
        await queue.deliver([request(Work()) for _ in range(MOST)])
        await stage.until(lambda: len(stage.ended) == MOST)
        await gone(queue, (await queue.enqueue(Elsewhere())).job_id)
        assert not worker.engine._lanes[Lane.WARM].has_slots()
        await queue.deliver([more := request(Work(name="more"))])
        away.link.mend()
        await gone(queue, more.job_id)
    assert len(await noted(away.sql)) == MOST + 1
