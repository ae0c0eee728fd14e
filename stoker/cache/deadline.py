"""The deadline of a read: how long one reader waits for SQL in all.

It starts with the read's first wait for SQL, so a hit pays nothing for it. All waits of the read share it:
the wait for a connection, the build, and the check of the access right. When it is over, the build goes on
for other readers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

from stoker.errors import DatabaseUnavailable

T = TypeVar("T")
UNTIL: ContextVar[float | None] = ContextVar("until", default=None)
"""When the read's deadline is over, by the event loop's clock; None until its first wait."""


def begin_waits(limit_s: float) -> None:
    """Begin the deadline now, for all tasks that this one will start."""
    UNTIL.set(asyncio.get_running_loop().time() + limit_s)


async def in_time(work: Awaitable[T], limit_s: float) -> T:
    """Wait for SQL; raises DatabaseUnavailable when the read's deadline is over."""
    if UNTIL.get() is None:
        begin_waits(limit_s)
    try:
        async with asyncio.timeout_at(UNTIL.get()) as deadline:
            return await work
    except TimeoutError as error:
        if not deadline.expired():
            raise  # the loader's own TimeoutError
        raise DatabaseUnavailable(f"not read from Postgres within {limit_s:g} s") from error
