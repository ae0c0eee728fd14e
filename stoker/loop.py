"""A background loop: an error of a step is logged, and the next step follows.

For what must go on for the life of a process. Touches no server by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

logger = logging.getLogger(__name__)


async def repeat(name: str, step: Callable[[], Awaitable[None]], every_s: Callable[[], float]) -> NoReturn:
    """Wait `every_s()` seconds, take the step, and so on until cancelled; a lasting error is logged once."""
    failing: type[Exception] | None = None
    while True:
        await asyncio.sleep(every_s())
        try:
            await step()
            failing = None
        except Exception as error:
            # A server may answer with an unexpected error: a rotated password, a table locked by a migration.
            # A loop that ended because of it would be missing when it is needed.
            if type(error) is not failing:
                logger.exception("loop.step_failed", extra={"loop": name})
            failing = type(error)
