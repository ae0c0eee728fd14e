"""Where the tasks and threads of a process are, written to stderr when a signal asks for it.

A process that does not end in time is asked before it is killed: the report then says what it waits for.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Iterator
from typing import Any

SIGNAL = signal.SIGUSR1
WRITTEN = b"these were all tasks"
"""The last line."""
WRITTEN_WITHIN_S = 3.0
"""Seconds that a process has for it. One whose event loop is blocked writes its threads only."""

WAITS_FOR = {"cr": "cr_await", "ag": "ag_await", "gi": "gi_yieldfrom"}
"""By the prefix of its attributes, which of them is what a coroutine or generator waits for."""


def write_when_asked() -> None:
    """On SIGNAL write the tasks of the running loop, and the threads even if the loop is blocked."""
    asyncio.get_running_loop().add_signal_handler(SIGNAL, _write)
    faulthandler.register(SIGNAL, chain=True)  # after the loop's handler, which it calls


def _write() -> None:
    for task in asyncio.all_tasks():
        places = "".join(f"\n    {place}" for place in _places(task.get_coro()))
        sys.stderr.write(f"task {task.get_name()}:{places}\n")
    sys.stderr.write(f"{WRITTEN.decode()}\n")
    sys.stderr.flush()


def _places(waits: Any) -> Iterator[str]:  # noqa: ANN401 - coroutines, generators, futures
    """Each line that waits for the next one, from the outermost to what is waited for."""
    while waits is not None:
        kind = next((one for one in WAITS_FOR if hasattr(waits, f"{one}_frame")), "")
        frame = getattr(waits, f"{kind}_frame", None)
        if frame is None:
            yield repr(waits)[:200]
            return
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
        waits = getattr(waits, WAITS_FOR[kind])
