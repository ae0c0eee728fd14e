"""Worker processes of their own, which a test kills or stops."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from stoker.queue.enqueue import Queue


@dataclass
class Process:
    """A worker in a process of its own."""

    inner: asyncio.subprocess.Process

    async def says(self, start: str) -> str:
        """The next line that begins so."""
        assert self.inner.stdout is not None
        async with asyncio.timeout(30):
            while line := (await self.inner.stdout.readline()).decode():
                if line.startswith(start):
                    return line
        raise AssertionError(f"the worker ended without saying {start!r}")

    async def ends_by(self, number: signal.Signals) -> int:
        """Its return code after a signal."""
        self.inner.send_signal(number)
        async with asyncio.timeout(30):
            return await self.inner.wait()


Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start_worker(queue: Queue, queue_url: str, database_url: str) -> AsyncIterator[Start]:
    """Start worker processes on the test's queue; killed at the end."""
    started: list[Process] = []

    async def start(**options: str) -> Process:
        asked = {"queue": queue_url, "database": database_url, "prefix": queue.settings.prefix, **options}
        inner = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.engine_process",
            json.dumps(asked),
            stdout=asyncio.subprocess.PIPE,
        )
        process = Process(inner)
        started.append(process)
        await process.says("up")
        return process

    yield start
    for process in started:
        if process.inner.returncode is None:
            process.inner.kill()
            await process.inner.wait()
