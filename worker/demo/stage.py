"""Sets the stage: servers, a database of the run's own, settings divided by the time scale, sample data.

With REDIS_URL and DATABASE_URL set those servers are used: a new database and new key prefixes there, both
removed at the end. Without, servers of the run's own start in its folder and go with it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from stoker import Domain, embedded
from stoker.embedded import Urls
from stoker.errors import StokerError
from stoker.migrate import migrate
from stoker.postgres import database_errors, engine_of
from stoker.settings import ScheduleSettings, Settings, load_settings, require
from worker.demo.options import DemoOptions
from worker.demo.screen import Screen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """Where a run takes place."""

    folder: Path
    settings: Settings
    servers: str
    """Whose servers: `embedded` or `given`."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of worker and web app: this process's own, and the settings of the run."""
        settings = self.settings
        return {
            **os.environ,
            "DATABASE_URL": require(settings.database_url, "DATABASE_URL"),
            "REDIS_URL": require(settings.redis_url, "REDIS_URL"),
            "CACHE_REDIS_URL": require(settings.cache_redis_url, "CACHE_REDIS_URL"),
            "STOKER__CACHE__PREFIX": settings.cache.prefix,
            "STOKER__QUEUE__PREFIX": settings.queue.prefix,
            "STOKER__CACHE__TTL_S": json.dumps(settings.cache.ttl_s),
            "STOKER__CACHE__FAIL_SAFE_S": str(settings.cache.fail_safe_s),
            **{
                f"STOKER__SCHEDULE__{name.upper()}": str(getattr(settings.schedule, name))
                for name in _divided(settings.schedule, 1)
            },
            # The worker says that it is ready in its log.
            "STOKER__LOG__LEVEL": "info",
        }


@contextmanager
def folder_and_servers(options: DemoOptions, base: Settings) -> Iterator[tuple[Path, Urls, str]]:
    """A fresh folder, and servers. What was started here ends here."""
    options.data_dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=options.data_dir))
    try:
        if base.database_url or base.redis_url or base.cache_redis_url:
            queue = require(base.redis_url, "REDIS_URL")
            cache = base.cache_redis_url.get_secret_value() if base.cache_redis_url else queue
            yield folder, Urls(require(base.database_url, "DATABASE_URL"), queue, cache), "given"
        else:
            with embedded.start(folder / "servers") as running:
                yield folder, running.urls, "embedded"
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def database_of_its_own(urls: Urls, *, keep: bool) -> AsyncIterator[str]:
    """A new database on the server; dropped at the end."""
    name = f"stoker_demo_{secrets.token_hex(4)}"
    await _administer(urls.database, f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield make_url(urls.database).set(database=name).render_as_string(hide_password=False)
    finally:
        if not keep:
            with cleaning("database"):
                await _administer(urls.database, f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def keys_of_its_own(urls: Urls, *, keep: bool) -> AsyncIterator[str]:
    """A prefix for every key; what is under it at the end is unlinked."""
    prefix = f"demo-{secrets.token_hex(4)}"
    try:
        yield prefix
    finally:
        if not keep:
            with cleaning("keys"):
                for url in {urls.queue, urls.cache}:
                    async with Redis.from_url(url) as redis:
                        async for key in redis.scan_iter(match=f"{prefix}*", count=1000):
                            await redis.unlink(key)


@contextmanager
def cleaning(what: str) -> Iterator[None]:
    """Say what could not be removed, and go on: whatever broke before it is what is to be heard of."""
    try:
        yield
    except (StokerError, SQLAlchemyError, RedisError, OSError) as error:
        log.warning("demo.left_behind", extra={"what": what, "error": first_line(error)})


def first_line(error: BaseException) -> str:
    """What went wrong, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def scaled(
    base: Settings, domain: Domain, urls: Urls, database_url: str, prefix: str, time_scale: float
) -> Settings:
    """The settings with TTLs and schedule divided, on the run's own database and keys."""
    ttl_s = {view.name: base.ttl(view.name, view.ttl).total_seconds() / time_scale for view in domain.views}
    schedule = _divided(base.schedule, time_scale)
    return base.model_copy(
        update={
            "database_url": SecretStr(database_url),
            "redis_url": SecretStr(urls.queue),
            "cache_redis_url": SecretStr(urls.cache),
            "cache": base.cache.model_copy(
                update={
                    "prefix": prefix,
                    "ttl_s": ttl_s,
                    "fail_safe_s": base.cache.fail_safe_s / time_scale,
                }
            ),
            "queue": base.queue.model_copy(update={"prefix": prefix}),
            "schedule": base.schedule.model_copy(update=schedule),
        }
    )


@asynccontextmanager
async def staged(
    options: DemoOptions, base: Settings, domain: Domain, place: tuple[Path, Urls, str], screen: Screen
) -> AsyncIterator[Stage]:
    """Database, keys, tables and sample data."""
    folder, urls, servers = place
    async with (
        database_of_its_own(urls, keep=options.keep) as database_url,
        keys_of_its_own(urls, keep=options.keep) as prefix,
    ):
        await migrate(database_url, domain)
        assert domain.sample_data is not None  # noqa: S101 - the domain that ships has some
        with screen.progress("sample data") as report:
            rows = await domain.sample_data.load(database_url, options.seed, options.users, report)
        screen.say(f"sample data: {', '.join(f'{count:,} {table}' for table, count in rows.items())}")
        settings = scaled(base, domain, urls, database_url, prefix, options.time_scale)
        yield Stage(folder, settings, servers)


def _divided(schedule: ScheduleSettings, time_scale: float) -> dict[str, float | int]:
    """The schedule's intervals; a verifier that comes so much more often looks at so much less."""
    every = {name: value for name, value in schedule.model_dump().items() if name.endswith("_every_s")}
    return {
        **{name: value / time_scale for name, value in every.items()},
        "verify_entries": max(1, round(schedule.verify_entries / time_scale)),
    }


async def _administer(url: str, statement: str) -> None:
    engine = engine_of(url, isolation_level="AUTOCOMMIT")
    try:
        with database_errors():
            async with engine.connect() as connection:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


def settings_of_this_process() -> Settings:
    """What file and environment say; raises SettingsError."""
    return load_settings()


__all__ = ["Stage", "folder_and_servers", "scaled", "settings_of_this_process", "staged"]
