"""Fixtures of the races. `guard` comes before `world`: a guard is gone before any process is opened."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL, NullPool, create_engine, make_url, text

from stoker import embedded
from stoker.embedded.valkey import Valkey
from tests.races.guards import GUARDS
from tests.races.rewinding import Rewinding
from tests.races.world import Urls, World
from tests.support.notes import SCHEMA


@pytest.fixture
def guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The guard that is removed for this test, if any."""
    name: str | None = getattr(request, "param", None)
    if name is not None:
        GUARDS[name](monkeypatch)
    return name


@pytest.fixture(scope="session")
def races_database(server_urls: embedded.Urls, template_database: URL) -> Iterator[str]:
    """One database for all races, emptied for each: a clone for each would take most of their time."""
    url = make_url(server_urls.database)
    name = f"races_{secrets.token_hex(4)}"
    administrator = create_engine(
        url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    with administrator.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template_database.database}"'))
    own = create_engine(url.set(drivername="postgresql+psycopg", database=name), poolclass=NullPool)
    with own.begin() as connection:
        for statement in SCHEMA:
            connection.execute(text(statement))
    yield url.set(database=name).render_as_string(hide_password=False)
    with administrator.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def urls(races_database: str, queue_url: str, cache_url: str) -> Urls:
    """The servers; the database is empty when a world begins."""
    return Urls(database=races_database, queue=queue_url, cache=cache_url)


@pytest.fixture
async def world(guard: str | None, urls: Urls, prefix: str) -> AsyncIterator[World]:  # noqa: ARG001 - order
    """A world with one process."""
    world = World(urls, prefix)
    try:
        await world.start()
        yield world
    finally:
        await world.close()


@pytest.fixture
async def full_cache(world: World) -> AsyncIterator[World]:
    """A world whose cache takes no more memory once `fill` was called."""
    found = await world.redis.config_get("maxmemory*")
    yield world
    for name in ("maxmemory", "maxmemory-policy"):
        await world.redis.config_set(name, found[name])


@pytest.fixture
async def rewinding(
    guard: str | None,  # noqa: ARG001 - order
    urls: Urls,
    prefix: str,
    tmp_path: Path,
) -> AsyncIterator[Rewinding]:
    """A world on a cache of its own, which keeps a snapshot."""
    server = Valkey("rewound", tmp_path / "data", tmp_path, tmp_path / "log", ["--save", ""])
    await asyncio.to_thread(server.start)
    world = World(replace(urls, cache=server.url), prefix)
    try:
        await world.start()
        yield Rewinding(world, server)
    finally:
        await world.close()
        await asyncio.to_thread(server.kill)
