"""A process that ends leaves a task behind which ignores its cancellation, and says so once."""

from __future__ import annotations

import subprocess
import sys

PATIENCE_S = 30.0
PROCESS = """
import asyncio
from contextlib import suppress

from stoker.worker.engine.running import Halt, Halted, bounded
from stoker.settings import LogSettings
from stoker.telemetry import log


async def deaf():
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(86_400)


async def main():
    log.configure(LogSettings())
    halt = asyncio.get_running_loop().create_future()
    halt.set_result(Halt.STOPPED)
    with suppress(Halted):
        await bounded(asyncio.create_task(deaf()), 60, halt)


asyncio.run(main())
"""


def test_a_task_that_ignores_its_cancellation_is_not_told_of_again_at_the_end() -> None:
    """Asyncio would, through a log that has been taken apart by then: a traceback instead of a line."""
    ended = subprocess.run(  # noqa: S603 - our own process
        [sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    [line] = ended.stderr.splitlines()
    assert "engine.task_ignores_cancellation" in line
