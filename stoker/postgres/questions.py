"""Short queries: bounded in time, with Stoker's errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresConnectionError, PostgresError
from sqlalchemy import ColumnElement, Executable, RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.driver import LimitedEngine
from stoker.errors import DatabaseUnavailable, first_line
from stoker.postgres.checkout import PING
from stoker.postgres.errors import database_errors

T = TypeVar("T")

QUESTION_S = 15.0
"""Seconds for a short query, including the replacement of a dead connection."""
NOT_ASYNCPG = ("prepared_statement_cache_size", "prepared_statement_name_func")
"""Arguments that SQLAlchemy keeps for itself."""


@asynccontextmanager
async def short_connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for a short query; raises DatabaseUnavailable if it takes longer than QUESTION_S."""
    with database_errors():
        async with asyncio.timeout(QUESTION_S), engine.connect() as connection:
            yield connection


async def fetched(
    engine: AsyncEngine, query: Executable, values: Mapping[str, Any] | None = None
) -> Sequence[RowMapping]:
    """All rows that a short query finds; raises DatabaseUnavailable."""
    async with short_connection(engine) as connection:
        return (await connection.execute(query, values)).mappings().all()


def containing(column: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """Whether a text contains a part, in upper or lower case; as an index of trigrams takes it."""
    escaped = re.sub(r"([\\%_])", r"\\\1", part)
    return column.ilike(f"%{escaped}%")


_left: set[asyncio.Task[Any]] = set()
"""Queries that nobody waits for any more."""


async def promptly(query: Coroutine[Any, Any, T], limit_s: float) -> T:
    """What a query answers within a time limit; it runs to its end even if nobody waits for it any more.

    Raises DatabaseUnavailable when the time is over. Nothing is cancelled: a driver that is cancelled while
    its server is silent waits for it again.
    """
    asking = asyncio.create_task(query)
    _left.add(asking)
    asking.add_done_callback(_heard)
    await asyncio.wait({asking}, timeout=limit_s)
    if not asking.done():
        raise DatabaseUnavailable(f"Postgres has not answered within {limit_s:g} s")
    return asking.result()


def _heard(asked: asyncio.Task[Any]) -> None:
    _left.discard(asked)
    if not asked.cancelled():
        asked.exception()  # whoever still waits for it gets it too


def sign_of_life(engine: LimitedEngine) -> Callable[[], Awaitable[None]]:
    """A probe of an engine's server, on a new connection.

    It returns after any answer, even a refusal, and raises DatabaseUnavailable if none comes.
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
            raise DatabaseUnavailable(f"Postgres does not answer: {first_line(error)}") from error
        except PostgresError:
            return

    return ask
