"""Fixtures of the tests that run the engine; imported by those that need them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stoker.jobs import JOBS
from stoker.queue.enqueue import Queue
from tests.support.engine_stage import TEST_JOBS, Stage, settings_of


@pytest.fixture(autouse=True)
def known_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the jobs of the tests."""
    for kind, job in TEST_JOBS.items():
        monkeypatch.setitem(JOBS, kind, job)


@pytest.fixture
def stage() -> Stage:
    """Tasks that do what the test says."""
    return Stage()


@pytest.fixture
async def queue(queue_url: str, prefix: str) -> AsyncIterator[Queue]:
    """A queue of the test's own."""
    made = Queue.from_url(queue_url, settings_of(prefix))
    yield made
    await made.close()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The test's own database."""
    engine = create_async_engine(database_url, pool_pre_ping=True)
    yield engine
    await engine.dispose()
