"""One Postgres with one database, `stoker`, reached through a Unix socket only.

The data folder is created atomically: initdb writes under a temporary name, which is then renamed.
Its name carries the major version, so another Postgres never opens it. Trust authentication is safe
because only the owner can enter the socket's directory.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import asyncpg

from stoker.embedded import binaries
from stoker.embedded.folder import Places
from stoker.embedded.identity import UNPRIVILEGED, Identity, can_run, for_postgres
from stoker.embedded.process import (
    STOP_DEADLINE_S,
    EmbeddedError,
    Identified,
    Server,
    last_lines,
    spawn,
    wait_until,
)

DATABASE = "stoker"
PORT = 5432  # only part of the socket's name; given in the URL because PGPORT would replace the default
BUILTIN_LOCALE_SINCE = 17
# A crash of the machine may lose data, a killed server must not: commits still reach the kernel, so
# `synchronous_commit` stays on (off, a SIGKILL loses what was committed in the last moments).
NOT_DURABLE = ("fsync=off", "full_page_writes=off")
SETTINGS = (
    "listen_addresses=",
    f"port={PORT}",
    "max_connections=200",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
)


class Postgres(Server):
    """A Postgres server; the data folder is made when it is missing."""

    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
    death_signal = signal.SIGQUIT  # "immediate": the postmaster takes its children with it

    def __init__(self, places: Places, *, durable: bool, settings: Sequence[str] = ()) -> None:
        """`settings`: name=value, over those that every embedded Postgres has."""
        super().__init__("postgres", places.log("postgres"))
        self._settings = settings
        self._identity = for_postgres()
        self._home = places.folder
        self._sockets = places.sockets
        self._programs = binaries.postgres()
        self._durable = durable
        if self._identity is Identity.NOBODY:
            self._home, self._sockets = places.for_nobody()
            if not can_run([self._programs.postgres, "--version"], self._identity):
                self._programs = self._programs.copied_to(places.nobody)
        self._data = self._home / f"postgres-{_major_version(self._programs.postgres)}"

    @property
    def url(self) -> str:
        """For SQLAlchemy with asyncpg; psycopg takes the same with its own driver name."""
        return f"postgresql+asyncpg://postgres@/{DATABASE}?host={quote(str(self._sockets))}&port={PORT}"

    @property
    def data(self) -> Path:
        """The data folder in use."""
        return self._data

    def prepare(self) -> tuple[Sequence[str | Path], Identity]:
        """Make the data folder if needed, and clear what a killed server left."""
        if not self._data.exists():
            self._initialize()
        self._clear_leftovers()
        settings = [*SETTINGS, f"unix_socket_directories={self._sockets}"]
        settings += [] if self._durable else NOT_DURABLE
        settings += self._settings
        options = [part for setting in settings for part in ("-c", setting)]
        return [self._programs.postgres, "-D", self._data, *options], self._identity

    def answers(self) -> bool:
        """`postmaster.pid` may be a killed server's: it counts only with the child's own pid."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return (
            self.running
            and lines[:1] == [str(self.pid)]
            and [line.strip() for line in lines[7:8]] == ["ready"]
        )

    def may_retry(self, words: str) -> bool:
        """Wait for the sessions of a killed postmaster, which hold its memory for a moment longer."""
        return "pre-existing shared memory block" in words

    def wait_ready(self) -> None:
        """Ready includes that the database exists."""
        super().wait_ready()
        failures: list[Exception] = []

        def ensure() -> None:
            try:
                asyncio.run(_ensure_database(self._sockets))
            except (OSError, asyncpg.PostgresError) as error:
                failures.append(error)

        # A thread of its own: the caller may already be inside an event loop.
        thread = threading.Thread(target=ensure, name="embedded-database")
        thread.start()
        thread.join()
        if failures:
            raise EmbeddedError(f"postgres has no database {DATABASE}: {failures[0]}") from failures[0]

    def kill(self) -> None:
        """SIGKILL the postmaster and its sessions, and wait until all are gone."""
        children = _children(self.pid) if self.running else []
        super().kill()
        for child in children:
            if child.is_alive():
                os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: not any(child.is_alive() for child in children), STOP_DEADLINE_S)

    def wipe(self) -> None:
        """Remove the data of the stopped server."""
        if self.running:
            raise EmbeddedError("postgres still runs: its data cannot be removed")
        shutil.rmtree(self._data, ignore_errors=True)

    def _initialize(self) -> None:
        new = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._identity is Identity.NOBODY:
            os.chown(new, UNPRIVILEGED, UNPRIVILEGED)
        locale = ["--locale=C", "--encoding=UTF8"]
        if int(self._data.name.rpartition("-")[2]) >= BUILTIN_LOCALE_SINCE:
            # Sorts by code point like C, and knows the upper and lower case of every script.
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        quick = [] if self._durable else ["--no-sync"]
        command: list[str | Path] = [self._programs.initdb, "-D", new, "-U", "postgres", "--auth=trust"]
        code = spawn([*command, *locale, *quick], self._identity, signal.SIGKILL, self.log).wait()
        if code != 0:
            shutil.rmtree(new, ignore_errors=True)
            words = last_lines(self.log, self._log_offset)
            raise EmbeddedError(f"initdb failed with {code}; the end of {self.log}:\n{words}")
        new.rename(self._data)

    def _clear_leftovers(self) -> None:
        for path in self._sockets.glob(f".s.PGSQL.{PORT}*"):
            path.unlink()
        owner = self._postmaster()
        if owner is not None:
            raise EmbeddedError(f"process {owner} already serves {self._data}: stop it first")
        # Its pid may belong to another process by now, and Postgres would refuse to start.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _postmaster(self) -> int | None:
        """The process that serves the data folder; Postgres works inside it."""
        try:
            pid = int((self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
            serves = Path(f"/proc/{pid}/cwd").readlink() == self._data
        except (OSError, ValueError):
            return None
        process = Identified.of(pid)
        # After kill -9 of the owner the postmaster is stopping.
        gone = not serves or wait_until(lambda: not process.is_alive(), STOP_DEADLINE_S)
        return None if gone else pid


async def _ensure_database(sockets: Path) -> None:
    place = {"host": str(sockets), "port": PORT, "user": "postgres"}
    try:
        connection = await asyncpg.connect(database=DATABASE, **place)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(database="postgres", **place)
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()


def _major_version(program: Path) -> int:
    asked = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)  # noqa: S603  # no shell; a program from binaries.py
    found = re.search(r"PostgreSQL\) (\d+)", asked.stdout)
    if not found:
        raise EmbeddedError(f"{program} does not run: {asked.stderr.strip() or asked.stdout.strip()}")
    return int(found[1])


def _children(pid: int) -> list[Identified]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [Identified.of(int(child)) for child in listed.split()]
