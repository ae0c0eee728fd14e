"""The frame of every run as a program: an event loop that SIGTERM ends, a report in a file, an exit code."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from stoker.chaos.stage import first_line
from stoker.errors import StokerError

GOOD, BAD, INTERRUPTED = 0, 1, 130

Facts = dict[str, Any]
"""A report, as it is written to the JSON file; `failures` lists what is wrong."""
Act = Callable[[], Coroutine[Any, Any, Facts]]


def performed(what: str, play: Callable[[], Facts], json_at: Path | None, say: Callable[[str], None]) -> int:
    """Play it and write the report; the exit code: 0 only without failures, 130 when interrupted."""
    try:
        found = play()
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted: everything is stopped")
        return INTERRUPTED
    except StokerError as error:
        say(f"{what} could not run: {error}")
        return BAD
    except (OSError, SQLAlchemyError) as error:  # for example a full disk, before any server starts
        say(f"{what} could not run: {first_line(error)}")
        return BAD
    if json_at is not None:
        json_at.parent.mkdir(parents=True, exist_ok=True)
        json_at.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return BAD if found["failures"] else GOOD


def stop_if_interrupted() -> None:
    """Raise CancelledError if this task was cancelled and something has swallowed that.

    Up to Python 3.11 asyncio.wait_for does so, which drivers use while they connect.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def interruptible(act: Act) -> Facts:
    """Run it in an event loop of its own, in which SIGTERM cancels it as SIGINT does."""

    async def acting() -> Facts:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - inside asyncio.run
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
        return await act()

    return asyncio.run(acting())
