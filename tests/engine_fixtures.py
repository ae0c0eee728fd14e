"""Fixtures of the tests that run the engine; imported by those that need them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from jobs.contracts import CONTRACTS
from jobs.enqueue import Queue
from tests.engine_stage import TEST_CONTRACTS, Stage, settings_of


@pytest.fixture(autouse=True)
def known_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the contracts of the tests."""
    for kind, contract in TEST_CONTRACTS.items():
        monkeypatch.setitem(CONTRACTS, kind, contract)


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
