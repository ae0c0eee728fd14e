"""A child process that dies with this one, and the life of a server: start, stop, kill, restart.

Starting means ready: the server answers, and it is the process that was started here. A server that does not
come up raises `EmbeddedError` with the last lines of its log. Nothing here survives the owner: when the owner
dies, so do the servers (on Linux; elsewhere only an orderly exit stops them).
"""

import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from stoker.embedded.identity import Identity
from stoker.errors import StokerError

START_DEADLINE_S = 90.0  # crash recovery of a large database is the slowest start
STOP_DEADLINE_S = 20.0
POLL_S = 0.005
LOG_KEPT_BYTES = 4 * 1024 * 1024
LOG_LINES_SHOWN = 12
LAUNCHER = Path(__file__).with_name("launch.py")


class EmbeddedError(StokerError):
    """A server that Stoker runs itself could not be found, started, owned or stopped."""


class Identified(NamedTuple):
    """Identifies a process for good: its pid may be reused, so its start time counts too."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "Identified":
        """The process that has the pid now."""
        return cls(pid, _born(pid))

    def is_alive(self) -> bool:
        """True while this very process runs; a zombie does not."""
        return _born(self.pid) == self.born and self.born != ""

    def is_certain(self) -> bool:
        """Whether the system says when a process began; if not, it must not be killed."""
        return self.born.isdigit()


def _born(pid: int) -> str:
    """Ticks since boot at which the process began; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _alive_without_proc(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _alive_without_proc(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"


def wait_until(condition: Callable[[], bool], deadline_s: float, poll_s: float = POLL_S) -> bool:
    """Poll the condition; false when the deadline passed before it held."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(poll_s)
    return True


def spawn(
    command: Sequence[str | Path], identity: Identity, death_signal: signal.Signals, log: Path
) -> subprocess.Popen[bytes]:
    """Start a program that gets the signal when this process dies; its output is appended to the log."""
    launch: list[str | Path] = [
        sys.executable,
        "-I",
        "-S",
        LAUNCHER,
        str(os.getpid()),
        str(int(death_signal)),
        identity,
    ]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # no shell; the programs are the ones found in binaries.py
                [*launch, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                # PG* and locale variables of the user must not change the server.
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
            )

    return _in_spawner(start)


def _in_spawner(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Fork in a thread that lives as long as this process.

    Linux sends the death signal when the forking *thread* ends: a server restarted from a worker
    thread of an event loop would otherwise die with that thread.
    """
    answer: Future[subprocess.Popen[bytes]] = Future()
    _spawner(os.getpid()).put((start, answer))
    return answer.result()


_Request = tuple[Callable[[], subprocess.Popen[bytes]], "Future[subprocess.Popen[bytes]]"]


@functools.cache
def _spawner(_pid: int) -> "queue.SimpleQueue[_Request]":
    requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            start, answer = requests.get()
            try:
                answer.set_result(start())
            except OSError as error:
                answer.set_exception(error)

    threading.Thread(target=serve, name="embedded-spawner", daemon=True).start()
    return requests


def last_lines(log: Path, offset: int = 0) -> str:
    """The end of what was logged after the offset."""
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-LOG_LINES_SHOWN:])


class Server(ABC):
    """One server process. Its URL never changes, whatever happens to the process."""

    stop_signal = signal.SIGTERM
    death_signal = signal.SIGKILL

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.on_change: Callable[[], None] = lambda: None
        self._child: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    @property
    def pid(self) -> int:
        """Of the running process; raises when there is none."""
        if self._child is None or self._child.poll() is not None:
            raise EmbeddedError(f"{self.name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; it may not answer yet."""
        return self._child is not None and self._child.poll() is None

    @property
    def end(self) -> str | None:
        """How the process ended if nobody here stopped it, such as "signal 9"; None for all others."""
        code = self._child.poll() if self._child is not None else None
        if code is None:
            return None
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def start(self) -> None:
        """Return when the server answers; nothing to do when it already runs."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """End the server in its own orderly way; by force when it takes too long."""
        if self._child is None:
            return
        self._signal(self.stop_signal)
        self._signal(signal.SIGCONT)  # a paused one must receive it, too
        try:
            self._child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._child = None

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self._child is None:
            return
        self._signal(signal.SIGKILL)
        self._child.wait()
        self._child = None

    def pause(self) -> None:
        """Freeze the process: it keeps its connections and answers nobody."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def restart(self, *, lose_data: bool = False) -> None:
        """Stop and start at the same URL; with `lose_data` it comes back empty."""
        self.stop()
        if lose_data:
            self.wipe()
        self.start()

    def launch(self) -> None:
        """Start the process without waiting for it to answer."""
        if self.running:
            return
        self._begin_log()
        command, identity = self.prepare()
        self._child = spawn(command, identity, self.death_signal, self.log)
        self.on_change()

    def wait_ready(self) -> None:
        """Wait until the process started here answers; raise with the end of its log when it does not."""
        end = time.monotonic() + START_DEADLINE_S
        while not self.answers():
            if self._child is None or self._child.poll() is not None:
                words = last_lines(self.log, self._log_offset)
                if not self.may_retry(words) or time.monotonic() > end:
                    raise EmbeddedError(f"{self.name} did not start; the end of {self.log}:\n{words}")
                self.launch()
            if time.monotonic() > end:
                words = last_lines(self.log, self._log_offset)
                self.kill()
                raise EmbeddedError(
                    f"{self.name} gave no answer in {START_DEADLINE_S:.0f} s; the end of {self.log}:\n{words}"
                )
            time.sleep(POLL_S)

    def may_retry(self, words: str) -> bool:  # noqa: ARG002  # for subclasses that know a passing cause
        """Whether the end of the log names a cause that goes away by itself."""
        return False

    @abstractmethod
    def prepare(self) -> tuple[Sequence[str | Path], Identity]:
        """Prepare the data; return the command that serves it and the user that it runs as."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether this very process serves requests."""

    @abstractmethod
    def wipe(self) -> None:
        """Remove the data of the stopped server."""

    def _begin_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_KEPT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)
