"""Servers and isolation for every test.

Real Valkey and Postgres, one set for each pytest process, unless REDIS_URL and DATABASE_URL name others.
A database is a fresh clone of a migrated template; keys are kept apart by a random prefix.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import URL, make_url

from stoker import embedded
from stoker.domain import load_domain
from stoker.migrate import migrate
from tests.support.databases import Clones, Databases
from tests.support.place import Place

MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's file system in memory; folders in it are made afresh
OURS = "stoker-tests-"
ROOM_BYTES = 2 * 1024**3
# Processes that tests start in other folders find the application's packages, too.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
# A machine that is busy with other things is no fault of a test: tests have a limit of time of their own.
hypothesis_settings.register_profile("stoker", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("stoker")
pytest_plugins = ["tests.explore.summary", "tests.leaks", "tests.time_limit"]


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a test waits for servers and processes a third of its time."""
    return (os.cpu_count() or 1) + 1


def migrate_template(url: str) -> None:
    """Bring the template database up to date: Stoker's tables, and those of the application.

    Without the events by which new captures invalidate what was cached before: nothing was.
    """
    asyncio.run(migrate(url, load_domain("jobs")))
    with psycopg.connect(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    ) as sql:
        sql.execute("DELETE FROM stoker.cache_events")


def _urls_of_the_environment() -> embedded.Urls | None:
    database, queue = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if not database and not queue and not os.environ.get("CACHE_REDIS_URL"):
        return None
    if not database or not queue:
        pytest.exit("Set both REDIS_URL and DATABASE_URL, or none of the URLs", returncode=2)
    return embedded.Urls(database=database, queue=queue, cache=os.environ.get("CACHE_REDIS_URL") or queue)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Embedded]:
    """Servers that a test may kill and restart; shared, so it leaves them running."""
    if _urls_of_the_environment():
        pytest.skip("controls its own servers: not possible with the servers of the environment")
    with _folder(tmp_path_factory) as folder, embedded.start(folder, durable=False) as running:
        yield running


@contextmanager
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is room: a database of a test's own is made in a fraction of the time."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        yield tmp_path_factory.mktemp("servers")
        return
    _forget_the_dead()
    name = f"{OURS}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=name, dir=MEMORY, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _forget_the_dead() -> None:
    """Remove what test runs that were killed have left in memory."""
    for folder in MEMORY.glob(f"{OURS}*"):
        owner, _, _ = folder.name.removeprefix(OURS).partition("-")
        if not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server_urls(request: pytest.FixtureRequest) -> embedded.Urls:
    """Where the servers are; `database` is the maintenance database, not one for a test."""
    given = _urls_of_the_environment()
    if given:
        return given
    running: embedded.Embedded = request.getfixturevalue("servers")
    return running.urls


@pytest.fixture(scope="session")
def queue_url(server_urls: embedded.Urls) -> str:
    """The queue Redis, shared by the tests of this process: use `prefix`."""
    return server_urls.queue


@pytest.fixture(scope="session")
def cache_url(server_urls: embedded.Urls) -> str:
    """The cache Redis, shared by the tests of this process: use `prefix`."""
    return server_urls.cache


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"t-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def databases(server_urls: embedded.Urls) -> Iterator[Databases]:
    """Makes and drops databases beside the tests."""
    databases = Databases(make_url(server_urls.database))
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def template_database(server_urls: embedded.Urls, databases: Databases) -> Iterator[URL]:
    """A migrated database that nobody connects to; tests get clones of it."""
    url = make_url(server_urls.database).set(database=f"template_{secrets.token_hex(4)}")
    databases.now(f'CREATE DATABASE "{url.database}" TEMPLATE template0')
    migrate_template(url.render_as_string(hide_password=False))
    yield url
    databases.drop(str(url.database))


@pytest.fixture(scope="session")
def clones(databases: Databases, template_database: URL) -> Iterator[Clones]:
    """Clones of the template."""
    clones = Clones(databases, str(template_database.database))
    yield clones
    clones.close()


@pytest.fixture
def database_url(server_urls: embedded.Urls, databases: Databases, clones: Clones) -> Iterator[str]:
    """A migrated, empty database of the test's own, as SQLAlchemy (asyncpg) takes it."""
    url = make_url(server_urls.database).set(database=clones.take())
    yield url.render_as_string(hide_password=False)
    databases.drop(str(url.database))


@pytest.fixture
def place(database_url: str, queue_url: str, cache_url: str, prefix: str) -> Place:
    """Where the test works, database and keys its own."""
    return Place(database_url, queue_url, cache_url, prefix)
