"""Finds what is wrong with settings and servers before anything runs on them.

`stoker check` prints everything; `run` and `api` refuse to start on errors. A server that does not answer is
an error for `check`, but passes by itself: the worker starts without either Redis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

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
from stoker.worker.check_redis import redis_findings
from stoker.worker.findings import Finding, Level, error, outage, warning
from stoker.worker.schedule.tasks import tasks, utc_now

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""Seconds that a server may take to answer."""
OWN_LOOPS = 3
"""SQL connections of a worker besides those of its lanes: sweeper, schedule, breaker."""

POOLED = (
    "a pooler stands between here and Postgres: each use of a statement sends its text, and Postgres plans "
    "it again. Add statement_cache_size=100 to the options of DATABASE_URL if the pooler keeps prepared "
    "statements (PgBouncer 1.21 or newer with max_prepared_statements), else statement_cache_size=0: then "
    "this warning goes"
)


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
        found.append(error(str(problem)))
    for findings in await asyncio.gather(
        _database(settings, domain), redis_findings(settings, "queue"), redis_findings(settings, "cache")
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
        yield error("DATABASE_URL is not set")
    if settings.redis_url is None:
        yield error("REDIS_URL is not set")
    elif settings.cache_redis_url is None:
        yield warning("CACHE_REDIS_URL is not set: cache and queue share a Redis, which must not evict")


def _proportions(settings: Settings, domain: Domain) -> Iterator[Finding]:
    jobs = settings.lanes.concurrency(domain.all_lanes)
    building = settings.lanes.refresh.concurrency + settings.lanes.warm.concurrency
    if settings.loaders.connections < building:
        yield warning(
            f"loaders.connections ({settings.loaders.connections}) is below the concurrency of the lanes "
            f"refresh and warm ({building}): their jobs wait for each other"
        )
    needed = settings.lanes.changes.concurrency + OWN_LOOPS
    if settings.database.connections < needed:
        yield warning(
            f"database.connections ({settings.database.connections}) is below what the changes lane and the "
            f"worker's own loops use ({needed})"
        )
    if settings.queue.connections < len(jobs):
        yield warning(f"queue.connections ({settings.queue.connections}) is below the number of lanes")
    if settings.lanes.changes.rate_per_s:
        yield warning(
            f"lanes.changes.rate_per_s ({settings.lanes.changes.rate_per_s:g}) delays changes: outdated "
            "values are shown for that much longer"
        )
    if settings.cache.lease_s <= settings.loaders.statement_timeout_s:
        yield warning(
            f"cache.lease_s ({settings.cache.lease_s:g}) is not above loaders.statement_timeout_s "
            f"({settings.loaders.statement_timeout_s:g}): a slow build loses its lease and is done twice"
        )


def _lifetimes(settings: Settings, domain: Domain) -> Iterator[Finding]:
    lives = {view.name: settings.ttl(view.name, view.ttl).total_seconds() for view in domain.views}
    try:
        settings.require_views(lives)
    except SettingsError as problem:
        yield error(str(problem))
    if not lives:
        return
    view, shortest = min(lives.items(), key=lambda item: item[1])
    try:
        scheduled = tasks(settings.schedule, domain)
    except SettingsError as problem:
        yield error(str(problem))
        scheduled = []
    for task in scheduled:
        every_s = task.interval(utc_now()).total_seconds()
        if isinstance(task.job, KeepWarm) and every_s >= shortest:
            yield warning(
                f"the schedule's {task.name} runs every {every_s:g} s, which is not below the shortest life "
                f"of an entry ({view}: {shortest:g}): it expires before it is rebuilt"
            )
    if settings.changes.keep_settled_s < max(lives.values()):
        yield error(
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
            found += [error(str(MigrationsPending(missing)))] if missing else []
            if domain is not None and not missing:
                found += await _captures(engine, domain, settings.database.schema_name)
    except DatabaseUnavailable as problem:
        return [outage(str(problem))]
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
        yield error(f"Postgres {version // 10_000} is too old: {OLDEST_POSTGRES} or newer is needed")
    if pooled:
        yield warning(POOLED)
        return  # its own limits count, not those of Postgres
    limit = int((await connection.execute(text("SHOW max_connections"))).scalar_one())
    wanted = settings.database.connections + settings.loaders.connections
    if wanted > limit // 2:
        yield warning(
            f"one process may open {wanted} SQL connections, more than half of Postgres' max_connections "
            f"({limit})"
        )


async def _agreements(settings: Settings, patience_s: float) -> list[Finding]:
    """What all processes of an installation must agree on."""
    try:
        return [
            # It ends with the old workers, so the new ones may start.
            *(outage(message) for message in [await another_cache(settings, patience_s)] if message),
            *(error(message) for message in [await another_queue(settings)] if message),
        ]
    except Unavailable as problem:
        # A server that does not report it now will not report it later.
        lasts = isinstance(problem.__cause__, Unidentified)
        return [error(str(problem)) if lasts else outage(str(problem))]
