"""SQL engines from settings, and the one place where drivers' errors become Stoker's.

Loaders have a pool of their own, so that a herd of cache misses never starves the application's writes, and
read in one snapshot: several statements of a dashboard see the same moment. A server that went without a
word (a host that lost power, a rule that drops packets) is noticed within seconds, not when the kernel is.
The connection that came back last goes out first: its backend has planned the statements already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any

from asyncpg.exceptions import (
    CannotConnectNowError,
    InterfaceError,
    InternalClientError,
    PostgresConnectionError,
    PostgresError,
    QueryCanceledError,
)
from sqlalchemy import AdaptedConnection, ExceptionContext, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from stoker.errors import DatabaseUnavailable
from stoker.settings import Settings, for_driver, require

OLDEST_POSTGRES = 14
QUERY_CANCELED = "57014"
"""SQLSTATE of a statement that Postgres ended, for taking too long."""
READ_ONLY = "25006"
"""SQLSTATE of a write to a server that takes none: a standby, or one that was told so."""
PING = "SELECT"
FRESH = "stoker.fresh"
"""Key of a pooled connection's `info` while nobody has used it."""
LOOK_S = 15.0
"""For a short question, a connection that has to be replaced first included."""


def engine_of(
    url: str,
    *,
    connect_args: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,  # noqa: ANN401 - SQLAlchemy's
) -> AsyncEngine:
    """An engine as SQLAlchemy makes it, of a URL with libpq's options in it; what the URL says wins."""
    place, told = for_driver(url)
    return create_async_engine(place, connect_args={**connect_args, **told}, **options)


def application_engine(settings: Settings) -> AsyncEngine:
    """The engine of services, outbox and worker: READ COMMITTED."""
    engine = engine_of(
        require(settings.database_url, "DATABASE_URL"),
        pool_size=settings.database.connections,
        max_overflow=0,
        pool_use_lifo=True,
        pool_timeout=settings.database.connect_timeout_s,
        hide_parameters=True,  # errors are logged
        connect_args={
            "timeout": settings.database.connect_timeout_s,
            "command_timeout": settings.database.command_timeout_s,
        },
    )
    event.listen(engine.sync_engine, "handle_error", _leave_read_only)
    _ask_first(engine, PING, settings.database.connect_timeout_s)
    return engine


def loader_engine(settings: Settings) -> AsyncEngine:
    """The loaders' engine: read-only, one snapshot for each load, statements bounded in time."""
    engine = engine_of(
        require(settings.database_url, "DATABASE_URL"),
        pool_size=settings.loaders.connections,
        max_overflow=0,
        pool_use_lifo=True,
        pool_timeout=settings.loaders.statement_timeout_s,
        pool_reset_on_return=None,  # see _in_one_snapshot
        hide_parameters=True,  # errors are logged
        isolation_level="AUTOCOMMIT",  # the same
        connect_args={
            "timeout": settings.database.connect_timeout_s,
            "server_settings": {
                "statement_timeout": str(round(settings.loaders.statement_timeout_s * 1000)),
                "application_name": "stoker loader",
                # The same few statements by ids, again and again: planning them anew each time took more of
                # Postgres than running them. One that needs a plan of its own says SET LOCAL.
                "plan_cache_mode": "force_generic_plan",
            },
        },
    )
    _in_one_snapshot(engine, settings.database.connect_timeout_s)
    return engine


def _leave_read_only(failed: ExceptionContext) -> None:
    # After a failover the same address leads to the new primary, but connections that were kept lead to the
    # old one for as long as it lives: none of them is trusted.
    if _is_read_only(failed.original_exception):
        failed.is_disconnect = True


def _in_one_snapshot(engine: AsyncEngine, limit_s: float) -> None:
    """Whoever takes a connection is in a transaction already: its BEGIN is the question that is asked first.

    SQLAlchemy would ask, then begin: a round trip more for every miss.
    """

    def end(adapted: AdaptedConnection, _record: object, state: PoolResetState) -> None:
        if state.terminate_only:
            return
        try:
            _run(adapted, "ROLLBACK", limit_s)
        except (OSError, PostgresError, InterfaceError, InternalClientError):
            # It died, or went silent, under its load: whoever is next finds it closed, and gets another.
            adapted.driver_connection.terminate()

    _ask_first(engine, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", limit_s)
    event.listen(engine.sync_engine, "reset", end)


def _ask_first(engine: AsyncEngine, question: str, limit_s: float) -> None:
    """Replace a pooled connection that died with its server before anyone's statement is on it.

    What SQLAlchemy's own ping does, in one round trip instead of three, and with a limit: a server that went
    without a word answers nothing, and then none of the connections that were made before is trusted.
    """

    def ask(adapted: AdaptedConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info.pop(FRESH, False) and question is PING:
            return
        try:
            _run(adapted, question, limit_s)
        except (OSError, PostgresError, InterfaceError, InternalClientError) as error:
            # The last: an idle connection that has heard its server's last words, not yet that it is gone.
            raise InvalidatePoolError(_first_line(error)) from error

    event.listen(engine.sync_engine, "connect", lambda _, record: record.info.update({FRESH: True}))
    event.listen(engine.sync_engine, "checkout", ask)


def _run(adapted: AdaptedConnection, statement: str, limit_s: float) -> None:
    adapted.run_async(lambda driver: driver.execute(statement, timeout=limit_s))


@asynccontextmanager
async def looking(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for a short question; a silence raises DatabaseUnavailable after LOOK_S."""
    with database_errors():
        async with asyncio.timeout(LOOK_S), engine.connect() as connection:
            yield connection


@contextmanager
def database_errors() -> Iterator[None]:
    """Translate what says «Postgres does not answer» into DatabaseUnavailable; let all else pass."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("no SQL connection became free in time") from error
    except DBAPIError as error:
        if _is_read_only(error.orig):
            raise DatabaseUnavailable(f"Postgres takes no writes: {_first_line(error.orig)}") from error
        if error.connection_invalidated or is_outage(error.orig):
            raise DatabaseUnavailable(f"Postgres does not answer: {_first_line(error.orig)}") from error
        raise
    except (OSError, PostgresConnectionError, CannotConnectNowError, InterfaceError) as error:
        raise DatabaseUnavailable(f"Postgres does not answer: {_first_line(error)}") from error


def is_outage(error: BaseException | None) -> bool:
    """Whether a driver's error means that the server is away, starting, stopping, too slow or read-only."""
    while error is not None:
        if isinstance(
            error,
            OSError | PostgresConnectionError | CannotConnectNowError | InterfaceError | QueryCanceledError,
        ):
            return True
        # SQLSTATE classes: 08 connection, 57P shutdown and start-up, 53300 too many connections.
        state = getattr(error, "sqlstate", None) or ""
        if state.startswith(("08", "57P")) or state in {"53300", READ_ONLY}:
            return True
        error = error.__cause__
    return False


def was_canceled(error: BaseException | None) -> bool:
    """Whether Postgres ended a statement for taking too long."""
    while error is not None:
        if isinstance(error, QueryCanceledError) or getattr(error, "sqlstate", None) == QUERY_CANCELED:
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False


def was_a_write(error: BaseException | None) -> bool:
    """Whether Postgres refused a statement for writing in a transaction that only reads."""
    while error is not None:
        if _is_read_only(error):
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False


def _is_read_only(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) == READ_ONLY


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
