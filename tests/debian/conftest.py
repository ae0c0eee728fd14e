"""The fixtures of tests elsewhere, on Debian's Redis."""

from __future__ import annotations

import shutil

import pytest

from stoker import embedded
from stoker.embedded.binaries import SERVER_VARIABLE
from tests.cluster.conftest import broken, own_cluster  # noqa: F401 - fixtures
from tests.races.conftest import guard, races_database, rewinding, urls  # noqa: F401 - the same
from tests.scripts.test_lines import ground  # noqa: F401 - the same
from tests.support.engine_fixtures import known_jobs, sql, stage  # noqa: F401 - the same


@pytest.fixture
def debian(server_urls: embedded.Urls, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - the servers of all tests run by now
    """The servers that the test starts are Debian's Redis; skips the test where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("No redis-server to run: install your system's package redis-server")
    monkeypatch.setenv(SERVER_VARIABLE, program)
