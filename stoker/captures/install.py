"""Brings the captures of a database up to date: each in a transaction of its own, under a short lock.

A trigger is made under a lock that waits for the table's writers, and that new writers wait for. So a
statement waits for LOCK_TIMEOUT_MS at most, gives up, lets the writers go on, and is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.captures.declared import Capture
from stoker.captures.function import quoted
from stoker.captures.standing import Compared, State, compare
from stoker.errors import DeclarationError, StokerError
from stoker.postgres import database_errors

LOCK = 0x5730CE15
"""Key of the advisory lock under which captures are changed; an arbitrary constant."""
LOCK_TIMEOUT_MS = 200
"""How long a table's writers may have to wait for us."""
PATIENCE_S = 30.0
"""Seconds for one capture: a table that is never free needs an operator."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
BUSY = ("55P03", "40P01")
"""SQLSTATE of a lock that was not granted in time, and of a deadlock."""
Say = Callable[[str], object]


class TableBusy(StokerError):
    """A table's writers left no moment for its triggers to be changed."""


async def install(
    engine: AsyncEngine, captures: Sequence[Capture], schema: str, say: Say, *, drop_left: bool = True
) -> list[str]:
    """Make what is missing or changed, drop what is not declared; returns what was done, in words.

    Raises DeclarationError for a table that cannot be captured as declared, TableBusy, DatabaseUnavailable.
    `say` is told of waits. `drop_left` false leaves captures that are not declared.
    """
    done = []
    with database_errors():
        async with engine.connect() as connection:
            found = await compare(connection, captures, schema)
        if wrong := [one.said for one in found if one.state is State.WRONG]:
            raise DeclarationError("\n".join(wrong))
        for one in found:
            if one.state is not State.SAME and (one.wanted is not None or drop_left):
                done += await _retried(engine, one, partial(_bring, one.name, captures, schema), say)
    return done


async def drop(engine: AsyncEngine, schema: str, table: str | None, say: Say) -> list[str]:
    """Drop all captures, or those of a table as `captures list` names it; returns what was dropped."""
    done = []
    with database_errors():
        async with engine.connect() as connection:
            found = await compare(connection, (), schema)
        for one in found:
            if table is None or one.table == table:
                done += await _retried(engine, one, partial(_bring, one.name, (), schema), say)
    return done


async def _retried(
    engine: AsyncEngine, one: Compared, work: Callable[[AsyncConnection], object], say: Say
) -> list[str]:
    give_up, pause_s = time.monotonic() + PATIENCE_S, FIRST_PAUSE_S
    while True:
        try:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'"))
                did: list[str] = await work(connection)  # type: ignore[misc]
                return did
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in BUSY:
                raise
            if time.monotonic() >= give_up:
                raise TableBusy(
                    f"{one.table} is written to without a pause: its triggers could not be changed within "
                    f"{PATIENCE_S:g} s; run `stoker migrate` again when it is less busy"
                ) from error
        say(f"{one.table} is busy: trying again in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


async def _bring(
    name: str, captures: Sequence[Capture], schema: str, connection: AsyncConnection
) -> list[str]:
    """Do what is to do about one capture, as it stands now: another process may have done it meanwhile."""
    for one in await compare(connection, captures, schema):
        if one.name == name and one.state is not State.SAME:
            if one.wanted is None:
                await _run(connection, f"DROP FUNCTION {quoted(schema)}.{quoted(name)}() CASCADE")
                return [f"dropped the capture of {one.table} ({one.kind})"]
            await _make(connection, one, schema)
            why = "" if one.standing is None else f", anew: {one.said}"
            return [f"made the triggers of {one.table} ({one.kind}){why}"]
    return []


async def _make(connection: AsyncConnection, one: Compared, schema: str) -> None:
    wanted = one.wanted
    assert wanted is not None  # noqa: S101 - for mypy: the caller has seen it
    await _run(connection, wanted.function)
    comment = wanted.comment.replace("'", "''")
    await _run(connection, f"COMMENT ON FUNCTION {quoted(schema)}.{quoted(one.name)}() IS '{comment}'")
    for table, name in sorted(one.left):
        await _run(connection, f"DROP TRIGGER IF EXISTS {quoted(name)} ON {table}")
    missing = {(placed.table, placed.name) for placed in one.missing}
    for trigger in wanted.triggers:
        if (trigger.table, trigger.name) in missing:
            for statement in trigger.statements:
                await _run(connection, statement)
    # Until now, changes were recorded otherwise or not at all: what the cache holds may lack them.
    await _run(connection, wanted.whole)


async def _run(connection: AsyncConnection, statement: str) -> None:
    await connection.exec_driver_sql(statement)
