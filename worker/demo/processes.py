"""Worker and web app as processes of their own, which cannot outlive this one.

Each is ready when its log says so. Stopping is SIGTERM and patience, then SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from stoker.embedded.process import LAUNCHER, last_lines
from stoker.errors import StokerError

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
LOOK_S = 0.02
WEBAPP_READY = re.compile(rb"http://127\.0\.0\.1:(\d+)")
WORKER_READY = re.compile(rb"(worker\.started)")


class ProcessFailed(StokerError):
    """A process of the demonstration did not start, or ended by itself."""


class Child:
    """One process, and its log."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        launch = [
            sys.executable,
            "-I",
            "-S",
            str(LAUNCHER),
            str(os.getpid()),
            str(int(signal.SIGTERM)),
            "same",
        ]
        with log.open("wb") as output:
            # Its own session: Ctrl-C is for this process, which stops the others in order.
            self._process = subprocess.Popen(  # noqa: S603 - the commands are ours
                [*launch, *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def ready(self, sign: re.Pattern[bytes]) -> str:
        """Wait for a sign in the log and return what it holds; raises ProcessFailed."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while (found := sign.search(self.log.read_bytes())) is None:
                    self.require_alive()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            raise self._failed(f"was not ready in {READY_WITHIN_S:.0f} s") from error
        return found[1].decode()

    def require_alive(self) -> None:
        """Raise ProcessFailed if the process has ended."""
        if self._process.poll() is not None:
            raise self._failed(f"ended with {self._process.returncode}")

    async def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _failed(self, what: str) -> ProcessFailed:
        return ProcessFailed(f"the {self.name} {what}; the end of {self.log}:\n{last_lines(self.log)}")


@asynccontextmanager
async def child(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> AsyncIterator[Child]:
    """A process for as long as the context lasts."""
    process = Child(name, command, environment, folder / f"{name}.log")
    try:
        yield process
    finally:
        await process.stop()
