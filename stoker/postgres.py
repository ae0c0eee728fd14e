"""SQL engines from settings, and the one place where drivers' errors become Stoker's.

Loaders have a pool of their own, so that a herd of cache misses never starves the application's writes, and
read in one snapshot: several statements of a dashboard see the same moment. A server that falls silent (its
host lost power, a rule drops packets) is noticed within seconds, not when the kernel notices.
The connection that came back last goes out first: its backend has planned the statements already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any

import asyncpg
from asyncpg.exceptions import (
    CannotConnectNowError,
    InterfaceError,
    InternalClientError,
    PostgresConnectionError,
    PostgresError,
    QueryCanceledError,
)
from sqlalchemy import AdaptedConnection, ExceptionContext, Executable, RowMapping, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from stoker.driver import Connections, LimitedEngine
from stoker.errors import DatabaseUnavailable
from stoker.schema import use_schema
from stoker.settings import Settings, for_driver, require
from stoker.silence import Silence
from stoker.tables import SCHEMA

OLDEST_POSTGRES = 14
QUERY_CANCELED = "57014"
"""SQLSTATE of a statement that Postgres ended, for taking too long."""
READ_ONLY = "25006"
"""SQLSTATE of a write to a server that takes none: a standby, or one that was told so."""
PING = "SELECT"
FRESH = "stoker.fresh"
"""Key of a pooled connection's `info` while nobody has used it."""
QUESTION_S = 15.0
"""For a short question, a connection that has to be replaced first included."""
CONNECT_S = 5.0
"""For a connection of an engine that is made without settings; the default of database.connect_timeout_s."""
NOT_ASYNCPG = ("prepared_statement_cache_size", "prepared_statement_name_func")
"""Arguments that SQLAlchemy keeps for itself."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


def engine_of(
    url: str,
    *,
    connect_args: Mapping[str, Any] = NOTHING,
    local: Mapping[str, str] = NOTHING,
    silence: Silence | None = None,
    schema: str = SCHEMA,
    **options: Any,  # noqa: ANN401 - SQLAlchemy's
) -> LimitedEngine:
    """An engine of SQLAlchemy for a URL that may contain libpq's options; these win over `options`.

    `local`: Postgres settings of every transaction. Every wait is registered with `silence`.
    `schema` is that of Stoker's tables.
    """
    place, told = for_driver(url)
    connections = Connections(silence, local)
    arguments = {"timeout": CONNECT_S, **connect_args, **told}
    made = create_async_engine(
        place, connect_args={**arguments, "async_creator_fn": connections.connect}, **options
    )
    _wait_within_limits(made, connections.silence)
    use_schema(made.sync_engine, schema)
    return LimitedEngine(made, connections, arguments)


def application_engine(settings: Settings, silence: Silence | None = None) -> LimitedEngine:
    """The engine of services, outbox and worker: READ COMMITTED.

    A session that was left in a transaction (its process died, its link was cut) frees its locks by itself.
    """
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
        local=_idle_limit(settings),
        silence=silence,
        schema=settings.database.schema_name,
    )
    event.listen(engine.sync_engine, "handle_error", _leave_read_only)
    _ask_first(engine, PING, settings.database.connect_timeout_s)
    return engine


def loader_engine(settings: Settings, silence: Silence | None = None) -> LimitedEngine:
    """The loaders' engine: read-only, one snapshot for each load, statements bounded in time."""
    statement_s = settings.loaders.statement_timeout_s
    engine = engine_of(
        require(settings.database_url, "DATABASE_URL"),
        pool_size=settings.loaders.connections,
        max_overflow=0,
        pool_use_lifo=True,
        pool_timeout=statement_s,
        pool_reset_on_return=None,  # see _in_one_snapshot
        hide_parameters=True,  # errors are logged
        isolation_level="AUTOCOMMIT",  # the same
        connect_args={
            "timeout": settings.database.connect_timeout_s,
            "command_timeout": statement_s + settings.database.connect_timeout_s,  # the server ends it first
            "server_settings": {"application_name": "stoker loader"},
        },
        local={
            **_idle_limit(settings),
            "statement_timeout": str(round(statement_s * 1000)),
            # The same few statements by ids, again and again: planning them anew each time took more of
            # Postgres than running them. One that needs a plan of its own says SET LOCAL.
            "plan_cache_mode": "force_generic_plan",
        },
        silence=silence,
        schema=settings.database.schema_name,
    )
    _in_one_snapshot(engine, settings.database.connect_timeout_s)
    return engine


def reading_engine(settings: Settings, silence: Silence | None = None) -> LimitedEngine:
    """The engine of operators' questions: few connections, statements bounded in time."""
    limit_s = settings.api.read_timeout_s
    engine = engine_of(
        require(settings.database_url, "DATABASE_URL"),
        pool_size=settings.api.read_connections,
        max_overflow=0,
        pool_use_lifo=True,
        pool_timeout=limit_s,
        hide_parameters=True,  # errors are logged
        connect_args={
            "timeout": settings.database.connect_timeout_s,
            "command_timeout": limit_s + settings.database.connect_timeout_s,  # the server ends it first
            "server_settings": {"application_name": "stoker reader"},
        },
        local={
            **_idle_limit(settings),
            "statement_timeout": str(round(limit_s * 1000)),
            # A plan without the values in it reads all failures by id, whatever an index says of them.
            "plan_cache_mode": "force_custom_plan",
        },
        silence=silence,
        schema=settings.database.schema_name,
    )
    _ask_first(engine, PING, settings.database.connect_timeout_s)
    return engine


def sign_of_life(engine: LimitedEngine) -> Callable[[], Awaitable[None]]:
    """A question to the server of an engine, on a new connection.

    It returns after any answer, be it a refusal, and raises DatabaseUnavailable where none can come.
    """
    _, place = engine.dialect.create_connect_args(engine.url)
    arguments = {name: value for name, value in place.items() if name not in NOT_ASYNCPG} | engine.arguments

    async def ask() -> None:
        try:
            connection = await asyncpg.connect(**arguments)
            try:
                await connection.execute(PING)
            finally:
                connection.terminate()
        except (OSError, PostgresConnectionError, InterfaceError) as error:
            raise DatabaseUnavailable(f"Postgres does not answer: {_first_line(error)}") from error
        except PostgresError:
            return

    return ask


def _idle_limit(settings: Settings) -> dict[str, str]:
    limit_ms = round(settings.database.idle_in_transaction_s * 1000)
    return {"idle_in_transaction_session_timeout": str(limit_ms)}


def _leave_read_only(failed: ExceptionContext) -> None:
    # After a failover the same address belongs to the new primary, but pooled connections stay at the old one
    # for as long as it lives: none of them is trusted.
    if _is_read_only(failed.original_exception):
        failed.is_disconnect = True


def _in_one_snapshot(engine: LimitedEngine, limit_s: float) -> None:
    """A connection is handed out in a transaction: its BEGIN also serves as the first ping.

    SQLAlchemy would ping, then begin: one more round trip for every miss.
    """

    def end(adapted: AdaptedConnection, _record: object, state: PoolResetState) -> None:
        if state.terminate_only:
            return
        try:
            _run(adapted, "ROLLBACK", limit_s)
        except (OSError, PostgresError, InterfaceError, InternalClientError):
            # It died, or went silent, during its load: the pool finds it closed and opens another one.
            adapted.driver_connection.terminate()

    _ask_first(engine, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", limit_s)
    event.listen(engine.sync_engine, "reset", end)


def _ask_first(engine: LimitedEngine, question: str, limit_s: float) -> None:
    """Replace a pooled connection that died with its server before anyone's statement is on it.

    What SQLAlchemy's own ping does, in one round trip instead of three, and with a limit: a server that went
    without a word answers nothing, and then none of the connections that were made before is trusted. A new
    connection that does not answer either is an outage.
    """
    silence = engine.connections.silence

    def ask(adapted: AdaptedConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        fresh = record.info.pop(FRESH, False)
        try:
            silence.refuse()
            if not fresh or question is not PING:
                _run(adapted, question, limit_s)
        except DatabaseUnavailable:
            adapted.driver_connection.terminate()
            raise
        except (OSError, PostgresError, InterfaceError, InternalClientError) as error:
            # The last: an idle connection that has heard its server's last words, not yet that it is gone.
            adapted.driver_connection.terminate()  # no goodbye, for which the pool would wait
            if fresh or silence.reason is not None:
                raise DatabaseUnavailable(f"Postgres does not answer: {_first_line(error)}") from error
            raise InvalidatePoolError(_first_line(error)) from error

    event.listen(engine.sync_engine, "connect", lambda _, record: record.info.update({FRESH: True}))
    event.listen(engine.sync_engine, "checkout", ask)


def _wait_within_limits(engine: AsyncEngine, silence: Silence) -> None:
    """Tell the engine's Silence of every statement that runs."""

    def execute(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:  # noqa: ANN401 - the driver's
        with silence.waiting(cursor._connection):  # noqa: SLF001 - the driver's: it has no public name here
            cursor.execute(statement, parameters)
        return True

    def execute_many(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:  # noqa: ANN401 - the same
        with silence.waiting(cursor._connection):  # noqa: SLF001 - the same
            cursor.executemany(statement, parameters)
        return True

    event.listen(engine.sync_engine, "do_execute", execute)
    event.listen(engine.sync_engine, "do_executemany", execute_many)


def _run(adapted: AdaptedConnection, statement: str, limit_s: float) -> None:
    adapted.run_async(lambda driver: driver.execute(statement, timeout=limit_s))


@asynccontextmanager
async def short_connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for a short query; raises DatabaseUnavailable if it takes longer than QUESTION_S."""
    with database_errors():
        async with asyncio.timeout(QUESTION_S), engine.connect() as connection:
            yield connection


async def fetched(
    engine: AsyncEngine, query: Executable, values: Mapping[str, Any] | None = None
) -> Sequence[RowMapping]:
    """All rows that a short question finds; raises DatabaseUnavailable."""
    async with short_connection(engine) as connection:
        return (await connection.execute(query, values)).mappings().all()


@contextmanager
def database_errors() -> Iterator[None]:
    """Translate what says "Postgres does not answer" into DatabaseUnavailable; let all else pass."""
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
            # The last one: what asyncpg says of a connection that broke in the middle of an operation.
            OSError
            | PostgresConnectionError
            | CannotConnectNowError
            | InterfaceError
            | QueryCanceledError
            | InternalClientError,
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
