"""A command of the shell as a reader of a page runs it: in a folder, with no settings but those given."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

STARTS_WITHIN_S = 90
STOPS_WITHIN_S = 40
OURS = re.compile(
    r"STOKER_.*|DATABASE_URL|(CACHE_)?REDIS_URL|CACHE_DEFAULT_TTL|ENABLE_BACKGROUND_WARMING|PYTEST_.*"
)


class Program:
    """A running command and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, pattern: str) -> re.Match[str]:
        """The first line, from now on, in which the pattern is found."""
        async with asyncio.timeout(STARTS_WITHIN_S):
            while line := (await self._output.readline()).decode():
                self.lines.append(line)
                if found := re.search(pattern, line):
                    return found
        raise AssertionError(f"it ended without {pattern!r}:\n{''.join(self.lines)}")

    async def ended(self) -> int:
        """Its exit code; what it prints until then is in `lines`."""
        async with asyncio.timeout(STARTS_WITHIN_S):
            while line := (await self._output.readline()).decode():
                self.lines.append(line)
            return await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and wait for its end; SIGKILL where it does not come."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.communicate(), STOPS_WITHIN_S)
        except TimeoutError:
            self.process.kill()
            raise

    @property
    def _output(self) -> asyncio.StreamReader:
        assert self.process.stdout is not None
        return self.process.stdout


@asynccontextmanager
async def program(folder: Path, *command: str, **variables: str) -> AsyncIterator[Program]:
    """Run a command of the test's own environment; stopped at the end of the block."""
    started = Program(
        await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=_environment(variables), stdout=PIPE, stderr=STDOUT
        )
    )
    try:
        yield started
    finally:
        await started.stop()


async def printed_urls(up: Program) -> dict[str, str]:
    """What `stoker up` prints for the application's own processes."""
    line = (await up.until(r"^export (.+)"))[1]
    return dict(pair.split("=", 1) for pair in shlex.split(line))


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)}
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **variables}
