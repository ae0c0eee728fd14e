"""Workers and web apps as processes that may be killed, frozen and replaced, and are started again.

A slot acts as a service manager: it starts a process that ended again, unless a fault holds it down. It keeps
the times of every life and freeze, which explain rescued claims, and records every end that no fault
explains.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stoker.chaos import stacks
from stoker.chaos.client import HttpClient
from stoker.chaos.surroundings import NOT_NOW, SOCKET
from stoker.embedded.process import LAUNCHER, last_lines
from stoker.errors import StokerError

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
"""Seconds for an orderly end: well above worker.stop_deadline_s of the run and a lane's final commands."""
POLL_S = 0.05
RESTART_S = 0.3
WORKER_READY = re.compile(rb"(worker\.started)")


class ProcessFailed(StokerError):
    """A process did not start, or ended by itself."""


@dataclass
class Life:
    """One process: seconds since 1970 at which it began, was ready and ended, and was frozen or cut off."""

    pid: int
    began: float
    ready: float | None = None
    ended: float | None = None
    frozen_since: float = 0
    freezes: list[tuple[float, float]] = field(default_factory=list)

    def works(self, at: float) -> bool:
        """Whether it was ready and not frozen at a time."""
        if self.ready is None or at < self.ready or (self.ended is not None and at > self.ended):
            return False
        return not any(began <= at <= ended for began, ended in self.freezes)


class Slot:
    """One place for a process.

    It is ready when its log shows the sign, or, without a sign, when its socket exists.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        sign: re.Pattern[bytes] | None = None,
    ) -> None:
        self.name = name
        self.older = False
        self.lock = asyncio.Lock()
        """The lock of the fault that affects this slot."""
        self.wanted = False
        """Whether it is started again when it ends."""
        self.kept_up = False
        self.log = folder / f"{name}.log"
        self.socket = folder / f"{name}.sock"
        self.client = HttpClient(self.socket)
        self.lives: list[Life] = []
        self.killed_itself = 0
        """Ends by a SIGKILL that no fault sent: jobs that kill their worker."""
        self.unexplained: list[str] = []
        self.disorderly: list[str] = []
        """Ends after SIGTERM that took too long or had another code than 0."""
        self._sign = sign
        self._command = command
        self._environment = {**environment, SOCKET: str(self.socket)}
        self._process: subprocess.Popen[bytes] | None = None
        self._offset = 0
        self._still_since = 0.0

    def start(self) -> None:
        """Start a process here, and from now on whenever it ends."""
        self._offset = self.log.stat().st_size if self.log.exists() else 0
        self.socket.unlink(missing_ok=True)
        arguments = [*self._command, *(["--older"] if self.older else [])]
        parent, death = str(os.getpid()), str(int(signal.SIGKILL))
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the commands are ours
                [sys.executable, "-I", "-S", str(LAUNCHER), parent, death, "same", *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.lives.append(Life(self._process.pid, time.time()))
        self.wanted = True

    async def ready(self) -> str:
        """Wait until it works and return what its sign holds; raises ProcessFailed."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while (found := self._readiness()) is None:
                    if not self.kept_up:
                        self.require_alive()
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise self._failed("is not ready") from error
        return found

    def require_alive(self) -> None:
        """Raise ProcessFailed if the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise self._failed(f"ended with {self._process.returncode}")

    async def keep_up(self) -> None:
        """Start it again whenever it has ended, until cancelled."""
        self.kept_up = True
        while True:
            await asyncio.sleep(POLL_S)
            if self.wanted and self.lives[-1].ready is None and self._readiness() is not None:
                self.lives[-1].ready = time.time()
            if self.wanted and self._process is not None and self._process.poll() is not None:
                self._note_end(self._process.returncode)
                await asyncio.sleep(RESTART_S)
                if self.wanted:
                    self.start()

    def kill(self) -> None:
        """SIGKILL; it stays down until it is started."""
        self.wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._end_life()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.stand_still()
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.move_on()

    def stand_still(self) -> None:
        """Note that the process can do nothing from now on."""
        self._still_since = self.lives[-1].frozen_since = time.time()

    def move_on(self) -> None:
        """Note that it can again, and every process here that has been started since."""
        for life in self.lives:
            if life.ended is None or life.ended >= self._still_since:
                life.freezes.append((self._still_since, time.time()))
            life.frozen_since = 0

    async def stop(self) -> None:
        """SIGTERM, and see that it ends in order."""
        self.wanted = False
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        began = time.monotonic()
        while (  # noqa: ASYNC110 - a process tells nobody
            self._process.poll() is None and time.monotonic() - began < STOP_WITHIN_S
        ):
            await asyncio.sleep(POLL_S)
        code = self._process.poll()
        if code is None:
            where = await self._stacks()
            self.disorderly.append(f"{self.name} did not end within {STOP_WITHIN_S:g} s of SIGTERM:\n{where}")
            self._process.kill()
            self._process.wait()
        elif code == -signal.SIGKILL:
            self.killed_itself += 1
        elif code not in (0, -signal.SIGTERM):  # -SIGTERM: it was still starting
            self.disorderly.append(f"{self.name} ended with {code} after SIGTERM:\n{self.last_words()}")
        self._end_life()

    async def _stacks(self) -> str:
        """Where its tasks and threads are, as it writes them when it is asked."""
        offset = self.log.stat().st_size
        self._signal(stacks.SIGNAL)
        written = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(stacks.WRITTEN_WITHIN_S):
                while stacks.WRITTEN not in written:
                    await asyncio.sleep(POLL_S)
                    written = self.log.read_bytes()[offset:]
        return written.decode(errors="replace")

    def last_words(self) -> str:
        """The end of its log."""
        return last_lines(self.log, self._offset)

    def _readiness(self) -> str | None:
        if self._sign is None:
            return str(self.socket) if self.socket.exists() else None
        found = self._sign.search(self.log.read_bytes(), self._offset)
        return found and found[1].decode()

    def _failed(self, what: str) -> ProcessFailed:
        return ProcessFailed(f"the {self.name} {what}; the end of {self.log}:\n{self.last_words()}")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _note_end(self, code: int) -> None:
        self._end_life()
        if code == -signal.SIGKILL:
            self.killed_itself += 1
        elif code != NOT_NOW:
            self.unexplained.append(f"{self.name} ended with {code}:\n{self.last_words()}")

    def _end_life(self) -> None:
        if self.lives and self.lives[-1].ended is None:
            self.lives[-1].ended = time.time()


@asynccontextmanager
async def started(*slots: Slot) -> AsyncIterator[None]:
    """Processes, stopped when the context ends. They are not restarted by themselves."""
    try:
        for slot in slots:
            slot.start()
        yield
    finally:
        await asyncio.gather(*(slot.stop() for slot in slots))
        await asyncio.gather(*(slot.client.close() for slot in slots))
