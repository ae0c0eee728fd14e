"""Records the statements that run on a connection: those of SQLAlchemy, and those of asyncpg itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection


@asynccontextmanager
async def recorded(connection: AsyncConnection) -> AsyncIterator[list[str]]:
    """The texts of the statements that run until the end of the block, each once, in their order.

    The list is complete when the block has ended.
    """
    found: dict[str, None] = {}
    texts: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found[statement] = None

    def note_raw(query: Any) -> None:  # noqa: ANN401 - asyncpg's LoggedQuery
        found[query.query] = None

    driver: Any = (await connection.get_raw_connection()).driver_connection
    event.listen(connection.sync_connection, "before_cursor_execute", note)
    driver.add_query_logger(note_raw)
    try:
        yield texts
    finally:
        await asyncio.sleep(0)  # asyncpg tells its loggers in the loop's next turn
        driver.remove_query_logger(note_raw)
        event.remove(connection.sync_connection, "before_cursor_execute", note)
        texts.extend(found)
