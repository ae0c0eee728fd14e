"""Sets the stage: a folder, servers, a database and keys of the run's own, all removed at the end.

On given servers a new database and new key prefixes are used and removed. Without given servers, embedded
ones start in the run's folder and are removed with it.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from stoker import embedded
from stoker.embedded import Embedded, Urls
from stoker.errors import StokerError
from stoker.postgres import database_errors, engine_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a run takes place."""

    name: str
    folder: Path
    """Data of servers started here."""
    sockets: Path
    """A folder of a short path, as those of sockets must be."""
    urls: Urls
    servers: Embedded | None
    """None: the servers were given."""
    keep: bool
    """Keep everything."""


@contextmanager
def placed(
    name: str,
    data_dir: Path,
    *,
    keep: bool,
    given: Urls | None = None,
    durable: bool = True,
    cluster: bool = False,
) -> Iterator[Place]:
    """A fresh folder, and servers; `cluster`: as the cache. What was started here ends here."""
    data_dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=data_dir))
    sockets = Path(tempfile.mkdtemp(prefix=f"stoker-{name}-"))
    try:
        if given is not None:
            yield Place(name, folder, sockets, given, None, keep)
        else:
            with embedded.start(folder / "servers", durable=durable, cluster=cluster) as servers:
                yield Place(name, folder, sockets, servers.urls, servers, keep)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(sockets, ignore_errors=True)


@asynccontextmanager
async def database_of_its_own(place: Place) -> AsyncIterator[str]:
    """A new database on the server; dropped at the end."""
    url = place.urls.database
    name = f"stoker_{place.name}_{secrets.token_hex(4)}"
    await administer(url, f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        if not place.keep:
            with cleaning(place, "database"):
                await administer(url, f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def keys_of_its_own(place: Place) -> AsyncIterator[str]:
    """A prefix for every key; its keys are unlinked at the end."""
    prefix = f"{place.name}-{secrets.token_hex(4)}"
    try:
        yield prefix
    finally:
        if not place.keep:
            with cleaning(place, "keys"):
                for url in {place.urls.queue, place.urls.cache}:
                    async with Redis.from_url(url) as redis:
                        async for key in redis.scan_iter(match=f"{prefix}*", count=1000):
                            await redis.unlink(key)


@contextmanager
def cleaning(place: Place, what: str) -> Iterator[None]:
    """Log what could not be removed, and go on: the first error must not be hidden."""
    try:
        yield
    except (StokerError, SQLAlchemyError, RedisError, OSError) as error:
        log.warning(f"{place.name}.left_behind", extra={"what": what, "error": first_line(error)})  # noqa: G004 - a constant for each program


def first_line(error: BaseException) -> str:
    """What went wrong, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


async def administer(url: str, statement: str) -> None:
    """Run a statement outside any transaction."""
    engine = engine_of(url, isolation_level="AUTOCOMMIT")
    try:
        with database_errors():
            async with engine.connect() as connection:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()
