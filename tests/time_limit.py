"""A time limit for every test: a test that hangs fails under its own name and shows where everything stood.

pytest-timeout reads the limits; this plugin handles their end. The stacks of all threads and of all tasks are
part of the failure message, because pytest-xdist reports nothing else from its processes. The signal is sent
again while the test goes on: the first one may be raised in a task that nobody waits for, and fixtures may
hang as well. If the main thread runs no Python code at all, pytest's `faulthandler_timeout` ends the process.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import AsyncGeneratorType, FrameType
from typing import Any

import pytest

AGAIN_S = 30.0
"""Between the end of a limit and the next signal, for fixtures to end what the test began."""
LONG_S = 900
"""For tests marked `long`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that are marked `long` their limit, unless they name one."""
    for item in items:
        if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_S))


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:  # noqa: ANN401 - a named tuple of the plugin's
    """Start the test's time; the plugin's own timer is not started then."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"{item.nodeid} took over {settings.timeout:g} s\n{everything()}", pytrace=True)

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel  # type: ignore[attr-defined] # where the plugin expects it
    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_S)
    return True


def everything() -> str:
    """The stacks of all threads and of all tasks that have not ended."""
    return "\n".join([*_threads(), *_tasks()])


def _threads() -> Iterator[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield f"-- thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}"


def _tasks() -> Iterator[str]:
    for task in gc.get_objects():
        if isinstance(task, asyncio.Task) and not task.done():
            yield f"-- task {task.get_name()}\n{''.join(_stack(task.get_coro()))}"


def _stack(waiting: Any) -> Iterator[str]:  # noqa: ANN401 - a coroutine, a generator, or what one waits for
    """Where a suspended coroutine stands, innermost call last; `Task.get_stack` shows the outermost only."""
    while waiting is not None:
        frame, inner = _suspended(waiting)
        if frame is not None:
            yield from traceback.format_list(traceback.extract_stack(frame, limit=1))
        elif inner is None:
            yield f"  waits for {waiting!r}\n"
        waiting = inner


def _suspended(waiting: Any) -> tuple[FrameType | None, Any]:  # noqa: ANN401 - the same
    for kind, awaits in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        if hasattr(waiting, f"{kind}_frame"):
            return getattr(waiting, f"{kind}_frame"), getattr(waiting, awaits)
    # What `__anext__` returns has no attributes, but it refers to its generator.
    generators = [one for one in gc.get_referents(waiting) if isinstance(one, AsyncGeneratorType)]
    return None, generators[0] if generators else None
