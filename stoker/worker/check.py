"""Finds what is wrong with settings and servers before anything runs on them.

`stoker check` prints everything; `run` and `api` refuse to start on errors. A server that does not answer is
an error for `check`, but passes by itself: the worker starts without either Redis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.captures.standing import State, compare
from stoker.domain import Domain, load_domain
from stoker.errors import DatabaseUnavailable, DeclarationError, SettingsError, StokerError, Unavailable
from stoker.jobs import KeepWarm
from stoker.migrate import MigrationsPending, pending
from stoker.postgres import OLDEST_POSTGRES, database_errors, engine_of
from stoker.redis.errors import Unidentified
from stoker.settings import Settings
from stoker.worker.agreement import another_cache, another_queue
from stoker.worker.schedule.tasks import tasks, utc_now

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""Seconds that a server may take to answer."""
OWN_LOOPS = 3
"""SQL connections of a worker besides those of its lanes: sweeper, schedule, breaker."""
NEARLY_FULL = 0.95
"""Share of a cache's memory above which it evicts what is not read often."""
OLDEST_REDIS = {"queue": (7, 0), "cache": (6, 2)}
"""By role. The queue's scripts declare a flag (run while memory is full) that older servers do not know."""

POOLED = (
    "a pooler stands between here and Postgres: each use of a statement sends its text, and Postgres plans "
    "it again. Add statement_cache_size=100 to the options of DATABASE_URL if the pooler keeps prepared "
    "statements (PgBouncer 1.21 or newer with max_prepared_statements), else statement_cache_size=0: then "
    "this warning goes"
)


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `outage`: it may end without a change by anybody."""

    level: Level
    message: str
    outage: bool = False


class CheckFailed(StokerError):
    """With these settings or servers, starting would do harm."""


async def check(settings: Settings, domain: Domain | None = None, *, patience_s: float = 0) -> list[Finding]:
    """Everything that is wrong, errors first.

    `patience_s`: how long to wait for a worker to note a cache that was restarted or flushed.
    """
    found = [*_urls(settings)]
    try:
        domain = domain or load_domain(settings.domain)
        found += [*_proportions(settings, domain), *_lifetimes(settings, domain)]
    except (DeclarationError, SettingsError) as problem:
        found.append(_error(str(problem)))
    for findings in await asyncio.gather(
        _database(settings, domain), _redis(settings, "queue"), _redis(settings, "cache")
    ):
        found += findings
    if not any(finding.level is Level.ERROR for finding in found):  # otherwise one of them cannot be asked
        found += await _agreements(settings, patience_s)
    return sorted(found, key=lambda finding: finding.level is not Level.ERROR)


async def require_sound(settings: Settings, domain: Domain) -> None:
    """Log warnings; raise MigrationsPending or CheckFailed for errors that are not outages."""
    database_url = settings.database_url
    if database_url is not None:
        missing = await pending(
            database_url.get_secret_value(),
            domain,
            schema=settings.database.schema_name,
            connect_timeout_s=settings.database.connect_timeout_s,
        )
        if missing:
            raise MigrationsPending(missing)
    found = await check(settings, domain)
    for finding in found:
        if finding.level is Level.WARNING or finding.outage:
            log.warning("check.found", extra={"finding": finding.message})
    errors = [finding.message for finding in found if finding.level is Level.ERROR and not finding.outage]
    if errors:
        raise CheckFailed("; ".join(errors))


def _urls(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        yield _error("DATABASE_URL is not set")
    if settings.redis_url is None:
        yield _error("REDIS_URL is not set")
    elif settings.cache_redis_url is None:
        yield _warning("CACHE_REDIS_URL is not set: cache and queue share a Redis, which must not evict")


def _proportions(settings: Settings, domain: Domain) -> Iterator[Finding]:
    jobs = settings.lanes.concurrency(domain.all_lanes)
    building = settings.lanes.refresh.concurrency + settings.lanes.warm.concurrency
    if settings.loaders.connections < building:
        yield _warning(
            f"loaders.connections ({settings.loaders.connections}) is below the concurrency of the lanes "
            f"refresh and warm ({building}): their jobs wait for each other"
        )
    needed = settings.lanes.changes.concurrency + OWN_LOOPS
    if settings.database.connections < needed:
        yield _warning(
            f"database.connections ({settings.database.connections}) is below what the changes lane and the "
            f"worker's own loops use ({needed})"
        )
    if settings.queue.connections < len(jobs):
        yield _warning(f"queue.connections ({settings.queue.connections}) is below the number of lanes")
    if settings.lanes.changes.rate_per_s:
        yield _warning(
            f"lanes.changes.rate_per_s ({settings.lanes.changes.rate_per_s:g}) delays changes: outdated "
            "values are shown for that much longer"
        )
    if settings.cache.lease_s <= settings.loaders.statement_timeout_s:
        yield _warning(
            f"cache.lease_s ({settings.cache.lease_s:g}) is not above loaders.statement_timeout_s "
            f"({settings.loaders.statement_timeout_s:g}): a slow build loses its lease and is done twice"
        )


def _lifetimes(settings: Settings, domain: Domain) -> Iterator[Finding]:
    lives = {view.name: settings.ttl(view.name, view.ttl).total_seconds() for view in domain.views}
    try:
        settings.require_views(lives)
    except SettingsError as problem:
        yield _error(str(problem))
    if not lives:
        return
    view, shortest = min(lives.items(), key=lambda item: item[1])
    try:
        scheduled = tasks(settings.schedule, domain)
    except SettingsError as problem:
        yield _error(str(problem))
        scheduled = []
    for task in scheduled:
        every_s = task.interval(utc_now()).total_seconds()
        if isinstance(task.job, KeepWarm) and every_s >= shortest:
            yield _warning(
                f"the schedule's {task.name} runs every {every_s:g} s, which is not below the shortest life "
                f"of an entry ({view}: {shortest:g}): it expires before it is rebuilt"
            )
    if settings.changes.keep_settled_s < max(lives.values()):
        yield _error(
            f"changes.keep_settled_s ({settings.changes.keep_settled_s}) is below the longest life of an "
            f"entry ({max(lives.values()):g})"
        )


async def _database(settings: Settings, domain: Domain | None) -> list[Finding]:
    if settings.database_url is None:
        return []
    url = settings.database_url.get_secret_value()
    engine = engine_of(url, connect_args={"timeout": PATIENCE_S}, schema=settings.database.schema_name)
    try:
        with database_errors():
            async with engine.connect() as connection:
                pooled = engine.connections.pooled
                found = [finding async for finding in _postgres(connection, settings, pooled=pooled)]
        if not found or found[0].level is not Level.ERROR:
            missing = await pending(url, domain, schema=settings.database.schema_name)
            found += [_error(str(MigrationsPending(missing)))] if missing else []
            if domain is not None and not missing:
                found += await _captures(engine, domain, settings.database.schema_name)
    except DatabaseUnavailable as problem:
        return [_outage(str(problem))]
    finally:
        await engine.dispose()
    return found


async def _captures(engine: AsyncEngine, domain: Domain, schema: str) -> list[Finding]:
    with database_errors():
        async with engine.connect() as connection:
            compared = await compare(connection, domain.captures, schema)
    # One that is left over records too much, the others too little.
    return [
        Finding(
            Level.WARNING if one.state is State.LEFT else Level.ERROR,
            f"capture of {one.table} ({one.kind}): {one.said}; run: stoker migrate",
        )
        for one in compared
        if one.state is not State.SAME
    ]


async def _postgres(
    connection: AsyncConnection, settings: Settings, *, pooled: bool
) -> AsyncIterator[Finding]:
    version = int((await connection.execute(text("SHOW server_version_num"))).scalar_one())
    if version < OLDEST_POSTGRES * 10_000:
        yield _error(f"Postgres {version // 10_000} is too old: {OLDEST_POSTGRES} or newer is needed")
    if pooled:
        yield _warning(POOLED)
        return  # its own limits count, not those of Postgres
    limit = int((await connection.execute(text("SHOW max_connections"))).scalar_one())
    wanted = settings.database.connections + settings.loaders.connections
    if wanted > limit // 2:
        yield _warning(
            f"one process may open {wanted} SQL connections, more than half of Postgres' max_connections "
            f"({limit})"
        )


async def _redis(settings: Settings, role: str) -> list[Finding]:
    url = settings.redis_url if role == "queue" else settings.cache_redis_url
    if url is None:
        return []
    judge = _queue if role == "queue" else _cache
    try:
        async with _information(url) as ask:
            memory, everything = await ask("memory"), await ask("everything")
            return [*_any_redis(role, everything), *judge(settings, memory, everything)]
    except (RedisError, OSError, TimeoutError) as problem:
        return [_outage(f"the {role} Redis does not answer: {problem or type(problem).__name__}")]


@asynccontextmanager
async def _information(url: SecretStr) -> AsyncIterator[Callable[[str], Awaitable[dict[str, Any]]]]:
    redis = Redis.from_url(
        url.get_secret_value(), socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
    )
    try:
        yield redis.info
    finally:
        await redis.aclose()


async def _agreements(settings: Settings, patience_s: float) -> list[Finding]:
    """What all processes of an installation must agree on."""
    try:
        return [
            # It ends with the old workers, so the new ones may start.
            *(_outage(message) for message in [await another_cache(settings, patience_s)] if message),
            *(_error(message) for message in [await another_queue(settings)] if message),
        ]
    except Unavailable as problem:
        # A server that does not report it now will not report it later.
        lasts = isinstance(problem.__cause__, Unidentified)
        return [_error(str(problem)) if lasts else _outage(str(problem))]


def _any_redis(role: str, found: dict[str, Any]) -> Iterator[Finding]:
    version = tuple(int(part) for part in str(found.get("redis_version", "0")).split(".")[:2])
    if version < (oldest := OLDEST_REDIS[role]):
        needed = ".".join(map(str, oldest))
        yield _error(f"the {role} Redis is {found.get('redis_version')}: {needed} or newer is needed")
    if found.get("redis_mode", "standalone") != "standalone":
        yield _error(f"the {role} Redis runs as {found['redis_mode']}, which is not supported yet")
    if found.get("role") == "slave":
        yield _error(f"the {role} Redis is a replica: name the primary")


def _queue(settings: Settings, memory: dict[str, Any], found: dict[str, Any]) -> Iterator[Finding]:
    policy = memory.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        level = Level.WARNING if settings.queue.allow_eviction else Level.ERROR
        yield Finding(
            level, f"the queue Redis has maxmemory-policy {policy}: it may evict jobs; set it to noeviction"
        )
    if not found.get("aof_enabled"):
        yield _warning(
            "the queue Redis has no append-only file: a restart loses waiting jobs (recorded events are safe)"
        )


def _cache(_: Settings, memory: dict[str, Any], found: dict[str, Any]) -> Iterator[Finding]:
    limit, used, policy = (
        memory.get("maxmemory"),
        memory.get("used_memory", 0),
        memory.get("maxmemory_policy"),
    )
    if not limit:
        yield _warning("the cache Redis has no maxmemory: it grows until the machine's memory is full")
    elif policy == "noeviction":
        yield _warning("the cache Redis never evicts: once full it stores nothing new; allkeys-lfu is better")
    if limit and used >= limit * NEARLY_FULL and (evicted := found.get("evicted_keys", 0)):
        yield _warning(
            f"the cache Redis uses {used / limit:.0%} of its {limit / 1024**2:,.0f} MiB of maxmemory and has "
            f"evicted {evicted:,} keys since it was started ({policy}): what is read may not fit"
        )


def _error(message: str) -> Finding:
    return Finding(Level.ERROR, message)


def _warning(message: str) -> Finding:
    return Finding(Level.WARNING, message)


def _outage(message: str) -> Finding:
    return Finding(Level.ERROR, message, outage=True)
