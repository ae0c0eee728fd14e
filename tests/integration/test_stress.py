"""No lost update while changes, builds and kills happen at random (`tests/stress`, at small scale)."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import JOBS, Job, Lane
from stoker.queue.enqueue import Queue
from tests.stress import builds
from tests.stress.builds import Build, Entries, LooseBuild
from tests.stress.run import Play, Servers, run
from tests.support.engine_fixtures import queue, sql  # noqa: F401
from tests.support.engine_stage import Stage, running, settled

SEED = 1
"""Batches, entries and kills of the run; `python -m tests.stress` draws another one each time."""


@pytest.fixture(autouse=True)
def known_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the jobs of the stress test."""
    for kind, job in builds.JOBS.items():
        monkeypatch.setitem(JOBS, kind, job)


class HeldEntries(Entries):
    """The first build stops between its read and its write until it is released."""

    def __init__(self, queue: Queue, job: type[Build]) -> None:
        super().__init__(queue, job)
        self.first_has_read = asyncio.Event()
        self.second_has_written = asyncio.Event()
        self.release = asyncio.Event()

    async def build(self, job_id: str, job: Job, attempt: int) -> str:
        """The engine's `run`."""
        is_first = not self.first_has_read.is_set()
        seen = await self.read(job)
        self.first_has_read.set()
        if is_first:
            await self.release.wait()
        await self.write(job, seen)
        if not is_first:
            self.second_has_written.set()
        return "done"


async def test_no_update_is_lost_while_workers_are_killed_at_random(
    queue: Queue, queue_url: str, database_url: str, sql: AsyncEngine
) -> None:
    play = Play(changes=3_000, least_kills=3, entries=100, kill_every_s=0.4, seed=SEED)
    outcome = await run(Servers(queue_url, database_url), queue, sql, play)
    assert outcome.behind == {}, f"seed {play.seed}"
    assert outcome.kills >= play.least_kills
    assert outcome.rescued > 0
    assert outcome.answers.total() >= play.changes
    assert outcome.builds < outcome.answers.total()


@pytest.mark.parametrize("job", [Build, LooseBuild])
async def test_a_build_that_began_before_a_change_writes_after_the_one_that_saw_it_unless_it_is_guarded(
    queue: Queue, queue_url: str, sql: AsyncEngine, job: type[Build]
) -> None:
    """The stress test can fail: without one build at a time the count finds the lost update."""
    entries = HeldEntries(queue, job)
    stage = Stage()
    stage.run = entries.build  # type: ignore[method-assign]
    async with running(queue, queue_url, stage, sql):
        await entries.change([1])
        await entries.first_has_read.wait()
        await entries.change([1])
        if job is LooseBuild:
            await entries.second_has_written.wait()
        entries.release.set()
        await settled(queue, Lane.REFRESH, ready=0, deferred=0, running=0)
    assert await entries.behind() == ({1: (1, 2)} if job is LooseBuild else {})
