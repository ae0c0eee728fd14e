"""The explorer's server, and what a test run has explored so far."""

import os
from collections.abc import Iterator

import pytest

from tests.explore.once import Once
from tests.explore.valkey import Server


@pytest.fixture(scope="module")
def server(cache_url: str) -> Iterator[Server]:
    """The real server behind every case; other modules may restart it."""
    server = Server(cache_url)
    yield server
    server.close()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """The cases that were explored so far, by any process of this test run."""
    mine = tmp_path_factory.getbasetemp()
    return Once((mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "explored")
