"""No lost update while changes, builds and kills happen at random (`tests/stress`, at small scale)."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import random

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import JOBS, Lane
from stoker.queue.enqueue import Queue
from tests.stress import builds
from tests.stress.builds import Entries, LooseBuild
from tests.stress.run import Play, Servers, run
from tests.support.engine_fixtures import queue, sql  # noqa: F401
from tests.support.engine_stage import Stage, running, settled


@pytest.fixture(autouse=True)
def known_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the jobs of the stress test."""
    for kind, job in builds.JOBS.items():
        monkeypatch.setitem(JOBS, kind, job)


async def test_no_update_is_lost_while_workers_are_killed_at_random(
    queue: Queue, queue_url: str, database_url: str, sql: AsyncEngine
) -> None:
    play = Play(changes=3_000, least_kills=3, entries=100, kill_every_s=0.4, seed=random.randrange(1 << 32))
    outcome = await run(Servers(queue_url, database_url), queue, sql, play)
    assert outcome.behind == {}, f"seed {play.seed}"
    assert outcome.kills >= play.least_kills
    assert outcome.rescued > 0
    assert outcome.answers.total() >= play.changes
    assert outcome.builds < outcome.answers.total()


async def test_without_one_build_at_a_time_updates_are_lost(
    queue: Queue, queue_url: str, sql: AsyncEngine
) -> None:
    # The stress test can fail: it finds the loss when its guard is gone.
    entries = Entries(queue, LooseBuild, longest_build_s=0.05)
    stage = Stage()
    stage.run = entries.build  # type: ignore[method-assign]
    async with running(queue, queue_url, stage, sql, concurrency=40):
        for _ in range(100):
            for _ in range(5):
                await entries.change(range(8))
            await settled(queue, Lane.REFRESH, ready=0, deferred=0, running=0)
            if await entries.behind():
                return
    pytest.fail("no update was lost")
