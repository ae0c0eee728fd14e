"""Recording an event on a plain DB-API connection, such as the one that Django's ORM writes through.

The row is written at once, in the connection's transaction, by one statement that also makes sure of the
database. Nothing here imports a driver or Django.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stoker.errors import StokerError
from stoker.outbox.databases import wrong_database

UNDEFINED_TABLE = "42P01"
"""SQLSTATE of a statement that names a table which does not exist."""
IDLE = 0
"""What libpq calls a connection that is in no transaction (PQTRANS_IDLE)."""


def insert_on(connection: Any, said: Mapping[str, Any], installation: str, schema: str) -> int:  # noqa: ANN401 - of any driver
    """Write an event's row; returns its id. Raises StokerError, WrongServer, or what the driver raises."""
    _refuse_without_transaction(connection)
    statement = (
        f"INSERT INTO {schema}.cache_events (kind, payload, scopes, trace)"  # noqa: S608 - a checked setting
        " SELECT %s, CAST(%s AS jsonb), CAST(%s AS jsonb), %s"
        f" WHERE (SELECT id FROM {schema}.installation ORDER BY created_at DESC LIMIT 1) = %s RETURNING id"
    )
    written = (said["kind"], json.dumps(said["payload"]), json.dumps(said["scopes"]), said["trace"])
    cursor = connection.cursor()
    try:
        cursor.execute(statement, (*written, installation))
        row = cursor.fetchone()
    except Exception as error:
        if _sqlstate(error) == UNDEFINED_TABLE:
            raise wrong_database(str(error).partition("\n")[0]) from error
        raise
    finally:
        cursor.close()
    if row is None:
        raise wrong_database("its installation is another one")
    return int(row[0])


def _refuse_without_transaction(connection: Any) -> None:  # noqa: ANN401 - the same
    if getattr(connection, "vendor", "postgresql") != "postgresql":  # Django names its database so
        raise wrong_database(f"it is of {connection.vendor}")
    in_block = getattr(connection, "in_atomic_block", None)
    if in_block is None:
        info = getattr(connection, "info", None)
        in_block = (
            not getattr(connection, "autocommit", False) or getattr(info, "transaction_status", 1) != IDLE
        )
    elif not in_block:
        in_block = not connection.get_autocommit()
    if not in_block:
        raise StokerError(
            "the connection commits each statement by itself, so that a change and its event would not be "
            "one transaction: record inside transaction.atomic(), or with autocommit off"
        )


def _sqlstate(error: BaseException | None) -> str | None:
    """The SQLSTATE of a driver's error, also of one that Django has wrapped."""
    while error is not None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state is not None:
            return str(state)
        error = error.__cause__
    return None
