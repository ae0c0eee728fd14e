"""Keeps a coroutine running: whatever it raises, it is started again after a short, jittered delay.

Never decides what the coroutine does, and never swallows the caller's own cancellation.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from stoker.errors import Unavailable

logger = logging.getLogger(__name__)

FIRST = timedelta(milliseconds=50)
LONGEST = timedelta(milliseconds=500)
"""Short, so that with the longest attempt to connect, lanes are back 1.5 s after their server's return; two
seconds are promised."""
TOLD_FIRST, TOLD_EACH = 5, 20
"""Crashes in a row that are logged: the first ones, and then each twentieth."""
CALM = timedelta(seconds=5)
"""A part that ran for this long before it broke starts again with the first delay."""


async def supervise(
    name: str,
    make: Callable[[], Awaitable[None]],
    *,
    first: timedelta = FIRST,
    longest: timedelta = LONGEST,
) -> None:
    """Run `make()` until it returns; start it again after every error.

    A server that is away is logged in one line, any other error with its traceback. Of many in a row, a few
    are logged.
    """
    crashes = 0
    while True:
        started = time.monotonic()
        try:
            await make()
        except asyncio.CancelledError as error:
            if _cancelled_from_outside():
                raise
            failure: BaseException = error
        except Exception as error:
            if _cancelled_from_outside():  # and turned into another error on its way
                raise asyncio.CancelledError from error
            failure = error
        else:
            return
        crashes = 1 if time.monotonic() - started >= CALM.total_seconds() else crashes + 1
        delay_s = delay_after(crashes, first, longest)
        if crashes <= TOLD_FIRST or crashes % TOLD_EACH == 0:
            _tell(name, failure, crashes, delay_s)
        await asyncio.sleep(delay_s)


def delay_after(crashes: int, first: timedelta = FIRST, longest: timedelta = LONGEST) -> float:
    """Seconds to wait after the n-th crash in a row: doubling, bounded, half of it random."""
    bound = min(longest.total_seconds(), first.total_seconds() * (1 << min(crashes - 1, 20)))
    return bound * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing


def _tell(name: str, failure: BaseException, crashes: int, delay_s: float) -> None:
    about = {"part": name, "error": repr(failure)[:500], "crashes": crashes, "again_in_s": round(delay_s, 3)}
    trace = None if isinstance(failure, Unavailable) else failure
    logger.warning("engine.part_broke", extra=about, exc_info=trace)


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
