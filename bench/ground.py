"""The ground of every row: servers of the benchmark's own, a database with sample data, a worker process.

Servers are durable, as in production, so that measurements include the cost of a commit. All of it ends with
the run.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.blocks import Scale
from bench.peer import CHECKOUT, LOG
from jobs.events import UserChanged
from stoker import Applied, Domain, Settings, Stoker, embedded, load_domain, load_settings
from stoker.embedded.valkey import Valkey
from stoker.migrate import migrate
from stoker.outbox.rows import unsettled

DOMAIN = "jobs"
SEED = 20
WORKER_READY = timedelta(seconds=30)
WORKER_STOP_S = 30.0
SOME_USER = 1
POLL_S = 0.05
LAST_COMMIT = text(
    "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM stoker.cache_events "
    "WHERE settled_at >= (SELECT max(settled_at) FROM stoker.cache_events) - interval '1 second'"
)


class NotThere(Exception):
    """A row needs something that this checkout does not have (yet); the message says what."""


NO_TERM = text("UPDATE stoker.cache_term SET term_ms = 0, longest_ms = 0")


@dataclass(frozen=True)
class Bench:
    """The ground of one run. `worker_command` starts a worker process; empty: there is none."""

    urls: embedded.Urls
    scale: Scale
    worker_command: str

    @property
    def env(self) -> dict[str, str]:
        """The environment of Stoker's processes: these servers, and no scheduled warming, which disturbs."""
        return {
            **os.environ,
            "REDIS_URL": self.urls.queue,
            "CACHE_REDIS_URL": self.urls.cache,
            "DATABASE_URL": self.urls.database,
            "ENABLE_BACKGROUND_WARMING": "false",
        }

    @asynccontextmanager
    async def stoker(self, domain: Domain | None = None, **cache: object) -> AsyncIterator[Stoker]:
        """Stoker as a web app opens it, on an empty cache; `cache` changes settings of that table.

        A term that a row has set ends with it: every change of the later rows would wait for it.
        """
        await self.flush()
        async with Stoker.opened(self.settings(**cache), domain) as stoker:
            try:
                yield stoker
            finally:
                async with stoker.engine.begin() as connection:
                    await connection.execute(NO_TERM)

    async def flush(self) -> None:
        """Empty both servers."""
        async with Redis.from_url(self.urls.cache) as cache, Redis.from_url(self.urls.queue) as queue:
            await cache.flushall()
            await queue.flushall()

    @asynccontextmanager
    async def other_database(self, name: str, users: int) -> AsyncIterator[Bench]:
        """The same ground with a database of its own: sample data of so many users, the same every time."""
        place = make_url(self.urls.database)
        server = create_async_engine(place.set(database="template1"), isolation_level="AUTOCOMMIT")
        async with server.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
        url = place.set(database=name).render_as_string(hide_password=False)
        try:
            await _load(url, users)
            yield replace(self, urls=replace(self.urls, database=url))
        finally:
            async with server.connect() as connection:
                await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            await server.dispose()

    @contextmanager
    def large_cache(self, megabytes: int) -> Iterator[Bench]:
        """The same ground with another cache: one that has room for everything, and evicts nothing."""
        with tempfile.TemporaryDirectory(prefix="stoker-bench-") as place:
            folder = Path(place)
            memory = ("--maxmemory", f"{megabytes}mb", "--maxmemory-policy", "noeviction")
            options = (*memory, "--appendonly", "no", "--save", "")
            server = Valkey("large", folder / "data", folder, folder / "large.log", options)
            server.start()
            try:
                yield replace(self, urls=replace(self.urls, cache=server.url))
            finally:
                server.stop()

    def settings(self, **cache: object) -> Settings:
        """The settings of this checkout on these servers."""
        found: Settings = load_settings(
            redis_url=self.urls.queue, cache_redis_url=self.urls.cache, database_url=self.urls.database
        )
        return found.model_copy(update={"cache": found.cache.model_copy(update=cache)})

    @asynccontextmanager
    async def worker(self, stoker: Stoker, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker process that has applied its first event; `env` goes over what it would have."""
        if not self.worker_command:
            raise NotThere("`python -m stoker run` does not exist yet")
        with LOG.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *shlex.split(self.worker_command),
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
                env={**self.env, **env},
                start_new_session=True,
            )
        try:
            await _first_event(stoker, process)
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), WORKER_STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _first_event(stoker: Stoker, process: asyncio.subprocess.Process) -> None:
    async with stoker.session() as session, session.begin():
        receipt = stoker.record(session, UserChanged(user_id=SOME_USER))
    if await receipt.applied(WORKER_READY) is not Applied.APPLIED:
        ended = "" if process.returncode is None else f", it ended with {process.returncode}"
        raise NotThere(f"the worker applied nothing within {WORKER_READY.total_seconds():.0f} s{ended}")


def default_worker() -> str:
    """The command of a worker of this checkout; empty if it has none."""
    if find_spec("worker.__main__") is None or find_spec("stoker.cli") is None:
        return ""
    return f"{shlex.quote(sys.executable)} -m stoker run"


@contextmanager
def prepared(scale: Scale, worker_command: str) -> Iterator[Bench]:
    """Start servers in a temporary folder and load the sample data."""
    LOG.parent.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder,
        embedded.start(Path(folder)) as servers,
    ):
        asyncio.run(_fill(servers.urls.database))
        servers.postgres.restart()  # for its setting
        yield Bench(servers.urls, scale, worker_command)


async def _load(database_url: str, users: int | None = None) -> None:
    domain = load_domain(DOMAIN)
    await migrate(database_url, domain)
    assert domain.sample_data is not None
    size = users or domain.sample_data.default_users
    await domain.sample_data.load(database_url, SEED, size, lambda *_: None)
    await forget_events(database_url)


async def forget_events(database_url: str) -> None:
    """Of rows that were made before anything was cached; most rows run no worker that would apply them."""
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM stoker.cache_events"))
    await engine.dispose()


async def _fill(database_url: str) -> None:
    await _load(database_url)
    engine = create_async_engine(database_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        # Only Postgres knows when a change was committed; a writer learns of it later.
        await connection.execute(text("ALTER SYSTEM SET track_commit_timestamp = on"))
    await engine.dispose()


async def settled_at(stoker: Stoker, timeout_s: float) -> float:
    """Wait until no event is unsettled; when the last settling was committed, in seconds of the wall clock.

    Postgres records that itself, and frequent polling would take CPU from the worker that is measured.
    """
    give_up = time.monotonic() + timeout_s
    while (await unsettled(stoker.engine)).oldest is not None:
        if time.monotonic() > give_up:
            raise NotThere(f"events are still unsettled after {timeout_s:.0f} s")
        await asyncio.sleep(POLL_S)
    async with stoker.engine.connect() as connection:
        return float((await connection.execute(LAST_COMMIT)).scalar_one())
