"""A domain's `lifespan` that raises: the worker says so and ends, and no job is begun or lost."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from stoker import Every, Job, JobContext, Lane, Stoker
from stoker.errors import LifespanFailed
from stoker.tables import schedule_slots
from stoker.worker.process import run_worker
from tests.library import domain as library
from tests.support.place import Place


class Note(Job):
    kind = "lifespan.note"
    lane = "notes"
    keep_result = timedelta(minutes=1)


async def note(_: JobContext, _job: Note) -> str:
    return "done"


@asynccontextmanager
async def without_start(_: Stoker) -> AsyncIterator[None]:
    raise ConnectionError("no printer answers")
    yield


@asynccontextmanager
async def without_end(_: Stoker) -> AsyncIterator[None]:
    yield
    raise ConnectionError("the printer is gone")


domain = replace(
    library,
    lanes=(Lane("notes"),),
    handlers={Note: note},
    schedule=(Every("note", Note(), timedelta(seconds=1)),),
)
broken = replace(domain, lifespan=without_start, migrations=None)


async def test_a_lifespan_that_raises_at_the_start_ends_the_worker_before_it_claims_anything(
    place: Place,
) -> None:
    async with Stoker.opened(place.settings(), broken) as stoker:
        asked = await stoker.enqueue(Note())
        with pytest.raises(LifespanFailed, match=r"at its start: no job was claimed: C.*no printer answers"):
            async with asyncio.timeout(20):
                await run_worker(stoker, place.settings(), asyncio.Event())
        assert await stoker.queue.is_open(asked.job_id)
        assert await stoker.progress(asked.job_id) is None
        async with stoker.engine.connect() as connection:
            assert await connection.scalar(select(func.count()).select_from(schedule_slots)) == 0


async def test_the_command_says_in_one_line_why_it_ends(place: Place) -> None:
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stoker", "run"),
        env={
            **os.environ,
            **place.environment(),
            "STOKER__DOMAIN": "tests.integration.test_own_lifespan:broken",
        },
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        _, said = await worker.communicate()
    assert worker.returncode == 1
    [line] = [one for one in said.decode().splitlines() if one.startswith("error: ")]
    assert line.startswith("error: the domain's lifespan failed at its start: no job was claimed: Conn")


async def test_a_lifespan_that_raises_at_its_end_is_told_and_the_jobs_have_ended(place: Place) -> None:
    stop = asyncio.Event()
    async with Stoker.opened(place.settings(), replace(domain, lifespan=without_end)) as stoker:
        worker = asyncio.create_task(run_worker(stoker, place.settings(), stop))
        asked = await stoker.enqueue(Note())
        assert await stoker.result(asked.job_id) == "done"
        stop.set()
        with pytest.raises(LifespanFailed, match=r"at its end, after the last job: .*the printer is gone"):
            async with asyncio.timeout(20):
                await worker
