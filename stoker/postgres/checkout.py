"""Pooled connections: checked before they are used, and given back in bounded time.

A server that falls silent (its host lost power, a rule drops packets) is noticed within seconds, not when
the kernel notices. Statements are registered with the engine's Silence while they run.
"""

from __future__ import annotations

from typing import Any

from asyncpg.exceptions import InterfaceError, InternalClientError, PostgresError
from sqlalchemy import AdaptedConnection, ExceptionContext, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from stoker.driver import LimitedEngine
from stoker.errors import DatabaseUnavailable, first_line
from stoker.postgres.errors import is_read_only
from stoker.silence import Silence

PING = "SELECT"
FRESH = "stoker.fresh"
"""Key of a pooled connection's `info` while nobody has used it."""


def leave_read_only(failed: ExceptionContext) -> None:
    """Trust no pooled connection after a server refused a write because it takes none.

    After a failover the same address belongs to the new primary, but pooled connections stay at the old one
    for as long as it lives.
    """
    if is_read_only(failed.original_exception):
        failed.is_disconnect = True


def in_one_snapshot(engine: LimitedEngine, limit_s: float) -> None:
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

    ask_first(engine, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", limit_s)
    event.listen(engine.sync_engine, "reset", end)


def ask_first(engine: LimitedEngine, question: str, limit_s: float) -> None:
    """Replace a pooled connection that died with its server before anyone's statement is on it.

    It replaces SQLAlchemy's own ping: one round trip instead of three, with a time limit. If the server does
    not answer, none of the connections that were made before is trusted. A new connection that does not
    answer either is an outage.
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
            # The last: an idle connection that has read its server's last message, but not yet that it is
            # closed.
            adapted.driver_connection.terminate()  # without an orderly close, for which the pool would wait
            if fresh or silence.reason is not None:
                raise DatabaseUnavailable(f"Postgres does not answer: {first_line(error)}") from error
            raise InvalidatePoolError(first_line(error)) from error

    event.listen(engine.sync_engine, "connect", lambda _, record: record.info.update({FRESH: True}))
    event.listen(engine.sync_engine, "checkout", ask)


def wait_within_limits(engine: AsyncEngine, silence: Silence) -> None:
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
