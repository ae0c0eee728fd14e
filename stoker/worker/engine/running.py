"""Runs one handler within its time, and ends it when the worker must stop or has lost the claim.

Waits only for a grace period for a handler that swallows its cancellation, then leaves it behind and logs it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stoker.worker.engine.claims import Claim

logger = logging.getLogger(__name__)

CANCEL_GRACE_S = 1
"""Seconds that a cancelled task has to clean up before it is left behind."""

_left_behind: set[asyncio.Task[str]] = set()
"""Tasks that ignored their cancellation; kept here because the event loop holds only weak references."""


class Halt(StrEnum):
    """Why a task is ended before it ends by itself."""

    STOPPED = "stopped"
    """Its worker stops: the job goes back to its lane."""
    CANCELLED = "cancelled"
    """Somebody cancelled the job."""
    LOST = "lost"
    """Another worker has rescued the job and decides."""


class Halted(Exception):
    """The task was ended from outside, for this reason."""

    def __init__(self, reason: Halt) -> None:
        super().__init__(reason)
        self.reason = reason


class TaskExit(Exception):
    """A task raised SystemExit or the like: its own failure, never the worker's."""


@dataclass(frozen=True, eq=False)
class Running:
    """A claim that this process holds, from the claim to the end in Redis."""

    claim: Claim
    halt: asyncio.Future[Halt]

    def end(self, reason: Halt) -> None:
        """Ask its task to end; once."""
        if not self.halt.done():
            self.halt.set_result(reason)


async def bounded(work: asyncio.Task[str], timeout_s: float, halt: asyncio.Future[Halt]) -> str:
    """What the task returns or raises; TimeoutError after `timeout_s`; Halted when `halt` is set first."""
    both: set[asyncio.Future[Any]] = {work, halt}
    await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        return work.result()
    work.cancel()
    # Not wait_for, which waits for ever on a task that swallows its cancellation.
    await asyncio.wait({work}, timeout=CANCEL_GRACE_S)
    if not work.done():
        _left_behind.add(work)
        # asyncio documents this for extensions. Without it asyncio.run would wait for this task for ever, and
        # the process could only be killed.
        asyncio.tasks._unregister_task(work)  # noqa: SLF001
        # It is logged below. At the end of the process asyncio would log it once more, when logging has
        # already been shut down ("Logging error").
        work._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
        work.add_done_callback(_left_behind.discard)
        logger.error("engine.task_ignores_cancellation", extra={"kind": work.get_name()})
    elif not work.cancelled() and work.exception() is None and not _is_cancelled(halt):
        return work.result()
    if halt.done():
        raise Halted(halt.result())
    raise TimeoutError(f"{work.get_name()} ran for more than {timeout_s:g} s")


def _is_cancelled(halt: asyncio.Future[Halt]) -> bool:
    # A task that swallowed its cancellation may have left its work half done, whatever it has returned.
    return halt.done() and halt.result() is Halt.CANCELLED


async def contained(run: Coroutine[Any, Any, str]) -> str:
    """Turn what would end the event loop into an ordinary failure of the task."""
    task = asyncio.current_task()
    try:
        return str(await run)
    except (Exception, asyncio.CancelledError, KeyboardInterrupt):
        raise
    except GeneratorExit as error:
        if not _is_running(task):
            raise  # the coroutine is closed, from outside
        raise TaskExit(repr(error)) from error
    except BaseException as error:
        raise TaskExit(repr(error)) from error


def _is_running(task: asyncio.Task[Any] | None) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False
