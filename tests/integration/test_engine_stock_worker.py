"""A stock arq worker process on a lane of ours: no job runs twice at once, and none is lost by a kill."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json
import signal
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Lane
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import TEST_JOBS, Stage, Work, eventually, running, settled
from tests.support.programs import Program

MANY = 200


async def program(module: str, **options: str) -> Program:
    """A worker process that is up."""
    command = (sys.executable, "-m", f"tests.support.{module}", json.dumps(options))
    started = Program(await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE))
    await started.until("^up$")
    return started


async def killed(one: Program) -> None:
    """SIGKILL, and its end."""
    one.process.send_signal(signal.SIGKILL)
    await one.ended()


@pytest.fixture
async def stock(queue: Queue, queue_url: str) -> AsyncIterator[Program]:
    """A stock worker on the lane `warm`."""
    started = await program("stock_worker", queue=queue_url, prefix=queue.settings.prefix)
    yield started
    if started.process.returncode is None:
        await killed(started)


async def was_passed_over(queue: Queue, job_id: str, enqueued_at: float | None) -> None:
    """Wait until a claim has met the job: it then stands later in its lane."""
    name = wire.queue_name(queue.settings, Lane.WARM)

    async def moved() -> bool:
        found: float | None = await queue.redis.zscore(name, job_id)
        return found != enqueued_at

    await eventually(moved)


async def test_what_a_stock_worker_runs_is_not_run_beside_it(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, stock: Program
) -> None:
    job = await queue.enqueue(Work(name="hold"))
    due = await queue.redis.zscore(wire.queue_name(queue.settings, Lane.WARM), job.job_id)
    await stock.until("^hold 1")
    async with running(queue, queue_url, stage, sql, job_types=TEST_JOBS):
        await was_passed_over(queue, job.job_id, due)
        assert stock.process.stdin is not None
        stock.process.stdin.write(b"\n")
        await settled(queue, Lane.WARM, ready=0, deferred=0, running=0)
    assert stage.runs == []
    assert not await queue.redis.exists(f"arq:job:{job.job_id}")


async def test_a_killed_stock_workers_job_runs_here_once_its_mark_has_expired(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, stock: Program
) -> None:
    job = await queue.enqueue(Work(name="hold"))
    due = await queue.redis.zscore(wire.queue_name(queue.settings, Lane.WARM), job.job_id)
    await stock.until("^hold 1")
    await killed(stock)
    async with running(queue, queue_url, stage, sql, job_types=TEST_JOBS):
        await was_passed_over(queue, job.job_id, due)
        assert stage.runs == [], "nobody can tell yet that it is dead"
        await queue.redis.pexpire(f"arq:in-progress:{job.job_id}", 1)  # arq: the longest timeout and 10 s
        await settled(queue, Lane.WARM, done=1, ready=0, deferred=0, running=0)
    assert stage.runs == [("hold", 2)], "arq counts a run when it begins"


async def test_what_a_killed_worker_of_ours_ran_is_not_touched_by_a_stock_worker_before_its_rescue(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, database_url: str
) -> None:
    here = {"queue": queue_url, "prefix": queue.settings.prefix}
    ours = await program("engine_process", **here, database=database_url)
    job = await queue.enqueue(Work(name="hang"))
    await ours.until("^hang 1")
    await killed(ours)
    stock = await program("stock_worker", **here)
    await queue.enqueue(Work(name="other"))
    await stock.until("^other 1")
    assert not any(line.startswith("hang") for line in stock.lines)
    await queue.redis.zadd(f"{wire.queue_name(queue.settings, Lane.WARM)}:running", {job.job_id: 1})
    async with running(queue, queue_url, stage, sql, claim_life_s=0.3, job_types=TEST_JOBS):
        await settled(queue, Lane.WARM, rescued=1, ready=0, deferred=0, running=0)
    stock.process.send_signal(signal.SIGTERM)
    await stock.ended()
    begun = [name for name, _ in stage.runs] + [line.split()[0] for line in stock.lines]
    assert begun.count("hang") == 1


async def test_many_jobs_run_once_each_over_both(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, stock: Program
) -> None:
    async with running(queue, queue_url, stage, sql, job_types=TEST_JOBS):
        names = [f"{'fail' if number % 10 == 0 else 'job'}-{number}" for number in range(MANY)]
        for name in names:
            await queue.enqueue(Work(name=name))
        await settled(queue, Lane.WARM, ready=0, deferred=0, running=0)
    stock.process.send_signal(signal.SIGTERM)
    await stock.ended()
    theirs = [line.split()[:2] for line in stock.lines if "-" in line]
    retried = [name for name, attempt in theirs if name.startswith("fail") and attempt == "1"]
    begun = [name for name, _ in theirs] + [name for name, _ in stage.runs]
    assert sorted(begun) == sorted(names + retried)
