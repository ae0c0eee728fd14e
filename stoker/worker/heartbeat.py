"""Notices when a handler blocks the event loop of its worker: names the job in the log, counts the seconds.

A thread watches a beat of the loop. It ends nothing, because a handler cannot be interrupted. The
engine renews the process's claims from another thread meanwhile, for a minute at most.
Code that keeps Python's global lock for itself is noticed only if it still runs when it gives the lock back.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from stoker.jobs import Job
from stoker.worker.engine.parts import Run

log = logging.getLogger(__name__)

BEAT_S = 0.2
BLOCKED_S = 1.0
"""Seconds without a turn of the loop after which a job is reported."""


class Heartbeat:
    """Watches one event loop; afterwards calls `blocked` in it, with the kind of the job and the seconds."""

    def __init__(self, blocked: Callable[[str, float], None]) -> None:
        self._blocked = blocked
        self._jobs: dict[asyncio.Task[Any], tuple[str, str]] = {}
        self._beat = time.monotonic()

    def around(self, run: Run) -> Run:
        """As `run`, with the running job noted for the watch."""

        async def known(job_id: str, job: Job, attempt: int) -> str:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - a coroutine runs in one
            self._jobs[task] = (job.kind, job_id)
            try:
                return await run(job_id, job, attempt)
            finally:
                del self._jobs[task]

        return known

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the running loop while this lasts."""
        loop, stop = asyncio.get_running_loop(), threading.Event()
        arguments = (loop, threading.get_ident(), stop)
        thread = threading.Thread(target=self._watch, args=arguments, name="heartbeat", daemon=True)
        beating = asyncio.create_task(self._keep_beating(), name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            beating.cancel()
            stop.set()
            await asyncio.to_thread(thread.join)  # it may have something to report

    async def _keep_beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_S)

    def _watch(self, loop: asyncio.AbstractEventLoop, of_loop: int, stop: threading.Event) -> None:
        while not stop.wait(BEAT_S):
            beat = self._beat
            # Without a current task the loop waits for events: the whole process was stopped for a while.
            if time.monotonic() - beat < BLOCKED_S or (task := asyncio.current_task(loop)) is None:
                continue
            kind, job_id = self._jobs.get(task, (task.get_name(), None))
            found = {"kind": kind, "job_id": job_id, "at": _line_of(of_loop)}
            if self._beat != beat:
                continue  # the loop went on meanwhile: the stack may be that of another job
            log.warning("worker.loop_blocked", extra=found)
            while self._beat == beat and not stop.wait(BEAT_S):
                pass
            seconds = max(self._beat - beat, BLOCKED_S)
            log.warning("worker.loop_free", extra={**found, "blocked_s": round(seconds, 1)})
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._blocked, kind, seconds)


def _line_of(thread: int) -> str | None:
    """Where a thread is: the file, line and name of its innermost function."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented for debugging, which this is
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
