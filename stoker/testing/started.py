"""Servers for a test session, and a clean place on them for each test.

A place is a copy of a migrated database, and two Redis servers that have been emptied. Nothing here needs an
event loop; what is asynchronous runs in a thread, so that the caller may have a loop or not.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from stoker import embedded
from stoker.domain import Domain
from stoker.migrate import migrate
from stoker.settings import Settings, load_settings

MakeTables = Callable[[str], Awaitable[None] | None]
"""Makes an application's own tables; takes the URL of a database that has Stoker's."""


@contextmanager
def servers(folder: Path, domain: Domain) -> Iterator[Settings]:
    """Servers in a folder, with the tables of Stoker and of the domain; yields settings that lead there.

    For tests without pytest; with it, use the fixtures. Takes a second, and stops the servers at the end.
    Raises EmbeddedError when a server cannot start.
    """
    with embedded.start(folder, durable=False) as running:
        finished(migrate(running.urls.database, domain))
        yield _settings(running.urls, running.urls.database)


class Places:
    """Clean places on the servers of one session."""

    def __init__(self, running: embedded.Embedded) -> None:
        self._running = running
        self._templates: dict[tuple[int, MakeTables | None], tuple[Domain, str]] = {}

    @contextmanager
    def clean(self, domain: Domain, make_tables: MakeTables | None) -> Iterator[Settings]:
        """A copy of the domain's migrated database, and empty Redis servers; dropped at the end."""
        self._start_what_stopped()
        for url in (self._running.urls.queue, self._running.urls.cache):
            with Redis.from_url(url) as redis:
                redis.flushall()
        template, name = self._template(domain, make_tables), f"test_{secrets.token_hex(6)}"
        self._sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        try:
            yield _settings(self._running.urls, self._url(name))
        finally:
            self._start_what_stopped()
            self._sql(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _template(self, domain: Domain, make_tables: MakeTables | None) -> str:
        """The database that is copied for this domain; made when it is first needed."""
        known = id(domain), make_tables
        if known not in self._templates:
            name = f"template_{secrets.token_hex(6)}"
            self._sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
            finished(migrate(self._url(name), replace(domain, captures=())))
            if make_tables is not None:
                _made(make_tables, self._url(name))
            finished(migrate(self._url(name), domain))
            # With the domain, so that its id stays its own.
            self._templates[known] = domain, name
        return self._templates[known][1]

    def _start_what_stopped(self) -> None:
        """A test may leave a server stopped."""
        for server in (self._running.queue, self._running.cache, self._running.postgres):
            if not server.running:
                server.start()

    def _url(self, database: str) -> str:
        url = make_url(self._running.urls.database).set(database=database)
        return url.render_as_string(hide_password=False)

    def _sql(self, statement: str) -> None:
        finished(_run(self._running.urls.database, statement))


def finished(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what the work returns
    """The result of asynchronous work, in a loop of its own in another thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _made(make_tables: MakeTables, url: str) -> None:
    async def make() -> None:
        made = make_tables(url)
        if inspect.isawaitable(made):
            await made

    finished(make())


async def _run(url: str, statement: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.execute(text(statement))


def _settings(urls: embedded.Urls, database_url: str) -> Settings:
    return load_settings(database_url=database_url, redis_url=urls.queue, cache_redis_url=urls.cache)
