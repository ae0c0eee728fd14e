"""The one place where errors of SQLAlchemy and asyncpg become Stoker's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg.exceptions import (
    CannotConnectNowError,
    InterfaceError,
    InternalClientError,
    PostgresConnectionError,
    QueryCanceledError,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from stoker.errors import DatabaseUnavailable, first_line

QUERY_CANCELED = "57014"
"""SQLSTATE of a statement that Postgres ended, for taking too long."""
READ_ONLY = "25006"
"""SQLSTATE of a write to a server that takes none: a standby, or one that was told so."""

PARAMETERS = re.compile(r"\[parameters: .*?(?=\n\(Background on this error|\Z)", re.DOTALL)
"""What SQLAlchemy appends to the text of an error: values, with line breaks escaped in most of them."""
DETAIL = re.compile(
    r"(^[ |]*)DETAIL:.*?(?=\n[ |]*(?:HINT:|CONTEXT:|\[SQL: |\(Background on this error|Traceback \(|\+-)"
    r"|\n[ |]*\n[ |]*(?:The above exception|During handling)|\n?\Z)",
    re.DOTALL | re.MULTILINE,
)
"""What Postgres adds to an error: the row or the key that it refused, with the values in it."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Translate what says "Postgres does not answer" into DatabaseUnavailable; let all else pass."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("no SQL connection became free in time") from error
    except DBAPIError as error:
        if is_read_only(error.orig):
            raise DatabaseUnavailable(f"Postgres takes no writes: {first_line(error.orig)}") from error
        if error.connection_invalidated or is_outage(error.orig):
            raise DatabaseUnavailable(f"Postgres does not answer: {first_line(error.orig)}") from error
        raise
    except (OSError, PostgresConnectionError, CannotConnectNowError, InterfaceError) as error:
        raise DatabaseUnavailable(f"Postgres does not answer: {first_line(error)}") from error


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
        if is_read_only(error):
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False


def is_read_only(error: BaseException | None) -> bool:
    """Whether a server refused a write because it takes none."""
    return getattr(error, "sqlstate", None) == READ_ONLY


def without_parameters(said: str) -> str:
    """The text of an error, or of its traceback, without parameters and without the DETAIL of Postgres.

    Both are what users typed. Stoker's own engines hide parameters; an engine of the application's may not.
    """
    return DETAIL.sub(r"\1DETAIL: hidden", PARAMETERS.sub("[parameters are hidden]", said))
