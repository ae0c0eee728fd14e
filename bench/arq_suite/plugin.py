"""The pytest plugin of the suite's own process: servers, Stoker's worker, and a record of what drove one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import tempfile
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import arq
import arq.worker
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.arq_suite import worker
from bench.arq_suite.worker import NotOurs, SuiteWorker
from stoker import Domain, embedded
from stoker.embedded.valkey import Valkey
from stoker.migrate import migrate

STRETCH = 4
"""Tests act 0.1 s after a worker's start, in which Stoker's has to connect to Postgres."""
TABLES = "stoker.schedule_slots, stoker.dead_jobs"
arq.Worker = arq.worker.Worker = SuiteWorker  # type: ignore[misc]


class Container:
    """What the suite's `testcontainers` gives it: a Redis on a port."""

    port = 6379

    def __init__(self, _: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stoker-arq-")
        where = Path(self._folder.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        options = ["--save", "", "--bind", "127.0.0.1", "--port", str(self._port)]
        self._server = Valkey("arq", where / "data", where, where / "log", options)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._folder.cleanup()

    def get_container_host_ip(self) -> str:
        """The address."""
        return "127.0.0.1"

    def get_exposed_port(self, _: int) -> int:
        """The port on it."""
        return self._port


containers = types.ModuleType("testcontainers")
containers.redis = types.ModuleType("testcontainers.redis")  # type: ignore[attr-defined]
containers.redis.RedisContainer = Container
sys.modules |= {"testcontainers": containers, "testcontainers.redis": containers.redis}


@pytest.fixture(scope="session", autouse=True)
def _postgres() -> Iterator[None]:
    with (
        tempfile.TemporaryDirectory(prefix="stoker-arq-") as folder,
        embedded.start(Path(folder) / "data", durable=False) as running,
    ):
        worker.database_url = running.urls.database
        domain = Domain(name="suite", scopes=(), views=(), rules=(), schedule=())
        asyncio.run(migrate(running.urls.database, domain))
        yield


@pytest_asyncio.fixture(autouse=True)
async def _clean(_postgres: None) -> AsyncIterator[None]:
    engine = create_async_engine(worker.database_url)
    async with engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {TABLES}"))
    await engine.dispose()
    worker.driven.clear()
    yield


@pytest.fixture
def event_loop(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - of pytest-asyncio
    """The fixture that older versions of pytest-asyncio had."""
    return request.getfixturevalue("_function_scoped_runner").get_loop()


class Stretched:
    """asyncio for the test modules, whose pauses last STRETCH times as long."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of asyncio
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(delay: float, result: object = None) -> object:
        """The pause."""
        return await asyncio.sleep(delay * STRETCH, result)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stretch the time of the tests."""
    for item in items:
        module: Any = item.getparent(pytest.Module)
        if hasattr(module.obj, "asyncio"):
            module.obj.asyncio = Stretched()


class Recorder:
    """Which tests made a worker, and how each ended."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Note the outcome of each phase."""
        outcome: Any = yield
        report = outcome.get_result()
        found = self.tests.setdefault(item.nodeid, {"outcome": "passed", "drives": False, "error": ""})
        found["drives"] |= bool(worker.driven)
        if report.outcome != "passed" and found["outcome"] == "passed":
            found["outcome"] = report.outcome
            error = call.excinfo.value if call.excinfo else None
            found["error"] = str(report.longrepr).strip().splitlines()[-1][:200]
            found["not_ours"] = isinstance(error, NotOurs)

    def pytest_sessionfinish(self) -> None:
        """Write it all down."""
        Path(os.environ["ARQ_SUITE_FOUND"]).write_text(json.dumps(self.tests, indent=1))


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record."""
    config.pluginmanager.register(Recorder())
    # Tests compare the last lines of the log: Stoker's own lines are not arq's.
    logging.getLogger("stoker").setLevel(logging.WARNING)
