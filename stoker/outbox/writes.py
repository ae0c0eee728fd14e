"""Ringing after each commit of an engine that wrote something, where tables are captured.

Nobody tells a client that a trigger recorded an event, so every write counts. A ring in vain costs the worker
one empty query; a write that is not seen here, as one by a function in a SELECT, is found by the sweeper.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, event

from stoker.queue.ring import UNKNOWN_ROW
from stoker.tables import metadata

WROTE, COMMITTED = "stoker.wrote", "stoker.wrote_and_committed"
"""Keys of a pooled connection's `info`."""
_WRITES = re.compile(r"\b(?:insert|update|delete|merge|truncate|copy|call|do|invalidate)\b", re.IGNORECASE)
_OURS = re.compile(rf"\b(?:{'|'.join(sorted(table.name for table in metadata.tables.values()))})\b")


def ring_for_writes(engine: Engine, ring: Callable[[Sequence[int]], None]) -> None:
    """Call `ring` after each commit of this engine that wrote anything but Stoker's own tables."""

    def executed(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if writes(statement):
            connection.info[WROTE] = True

    def commits(connection: Connection) -> None:
        if connection.info.pop(WROTE, False):
            connection.info[COMMITTED] = True

    def given_back(_connection: object, record: Any) -> None:  # noqa: ANN401 - the pool's
        # The event `commit` comes before the COMMIT; the connection is given back right after it.
        record.info.pop(WROTE, None)
        if record.info.pop(COMMITTED, False) and _in_loop():
            ring([UNKNOWN_ROW])

    event.listen(engine, "after_cursor_execute", executed)
    event.listen(engine, "commit", commits)
    event.listen(engine, "checkin", given_back)


@lru_cache(maxsize=1024)
def writes(statement: str) -> bool:
    """Whether a statement may write to an application's table."""
    return _WRITES.search(statement) is not None and _OURS.search(statement) is None


def _in_loop() -> bool:
    """A connection that is only given back by the garbage collector may be so outside of a loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
