"""A loop beside an application: what a step raises is said, and the next step comes all the same.

For what must go on for the life of a process. Touches no server by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

logger = logging.getLogger(__name__)


async def repeat(name: str, step: Callable[[], Awaitable[None]], every_s: Callable[[], float]) -> NoReturn:
    """Wait `every_s()` seconds, take the step, and so on until cancelled; say once what goes on failing."""
    failing: type[Exception] | None = None
    while True:
        await asyncio.sleep(every_s())
        try:
            await step()
            failing = None
        except Exception as error:
            # Servers answer much that nobody foresaw: a rotated password, a table that a migration holds.
            # A loop that ended for it would be missed only when it is needed.
            if type(error) is not failing:
                logger.exception("loop.step_failed", extra={"loop": name})
            failing = type(error)
