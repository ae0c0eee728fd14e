"""Runs plain functions, each call in a thread of its own.

So a function that hangs blocks no other one; the slots of the lanes bound how many run. A thread cannot be
ended: when its job is cancelled, the thread is left behind and counted. Threads are daemons, so that a
function that hangs does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

MOST_LEFT = 100
"""With this many threads left behind, a process should be restarted."""


class Threads:
    """The threads of one worker process."""

    def __init__(self) -> None:
        self._left_behind = 0

    async def call(self, function: Callable[..., Any], *arguments: Any, **told: str) -> Any:  # noqa: ANN401 - any
        """What the function returns or raises. If the call is cancelled, the thread goes on; it is logged."""
        loop, here = asyncio.get_running_loop(), copy_context()
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def run() -> None:
            try:
                outcome: tuple[Any, BaseException | None] = here.run(function, *arguments), None
            except BaseException as error:  # noqa: BLE001 - the awaiting caller decides
                outcome = None, error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._end, ended, outcome)

        Thread(target=run, name="stoker-job", daemon=True).start()
        try:
            found, error = await ended
        except asyncio.CancelledError:
            self._left_behind += 1
            logger.warning("job.thread_left_behind", extra={**told, "left_behind": self._left_behind})
            raise
        if error is not None:
            _raise(error)
        return found

    def stuck(self) -> list[str]:
        """The reasons why only a restart helps; callable from any thread."""
        left = self._left_behind
        return [f"{left} threads of plain handlers that were left behind"] if left >= MOST_LEFT else []

    def _end(self, ended: asyncio.Future[Any], outcome: tuple[Any, BaseException | None]) -> None:
        if ended.cancelled():
            self._left_behind -= 1
        else:
            ended.set_result(outcome)


def _raise(error: BaseException) -> NoReturn:
    if not isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
        raise error
    # In a thread they are raised by the function: nobody has cancelled the job or interrupted the worker.
    raise RuntimeError(f"the handler raised {type(error).__name__}") from error
