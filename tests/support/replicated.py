"""A primary and its streaming replica, which can be promoted."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from sqlalchemy import make_url

from stoker.embedded.folder import Places
from stoker.embedded.postgres import DATABASE, PORT, Postgres
from stoker.embedded.process import spawn, wait_until

STREAMING = ("wal_level=replica", "max_wal_senders=4", "hot_standby=on", "wal_receiver_status_interval=1")

STREAMS = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
WRITTEN = "SELECT pg_current_wal_insert_lsn()"
STREAMS_WITHIN_S = 20.0


class Node(Postgres):
    """One of two servers. With `copied_from` its data is a copy of that one's, and it follows it."""

    def __init__(self, folder: Path, copied_from: Node | None = None) -> None:
        folder.mkdir()
        (folder / "logs").mkdir()
        super().__init__(Places(folder), durable=False, settings=STREAMING)
        self._copied_from = copied_from

    @property
    def sockets(self) -> Path:
        """The folder of its socket."""
        return self._sockets

    def run(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement outside any transaction; its rows."""
        url = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def promote(self) -> None:
        """Make it the primary, and wait until it takes writes."""
        self.run("SELECT pg_promote()")

    def answers(self) -> bool:
        """A replica says `standby` where a primary says `ready`."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        said = [line.strip() for line in lines[7:8]]
        return self.running and lines[:1] == [str(self.pid)] and said in (["ready"], ["standby"])

    def _initialize(self) -> None:
        if self._copied_from is None:
            super()._initialize()
            return
        program = self._programs.folder / "pg_basebackup"
        program.chmod(program.stat().st_mode | 0o755)
        place = ["-h", str(self._copied_from.sockets), "-p", str(PORT), "-U", "postgres"]
        options: list[str | Path] = [
            "-D",
            self._data,
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
        ]
        code = spawn([program, *place, *options], self._identity, signal.SIGKILL, self.log).wait()
        assert code == 0, self.log.read_text()


@dataclass(frozen=True)
class Pair:
    """A primary and a replica that streams from it."""

    primary: Node
    replica: Node

    @property
    def url(self) -> str:
        """Whichever takes writes."""
        hosts = "&".join(f"host={quote(str(one.sockets))}:{PORT}" for one in (self.primary, self.replica))
        return f"postgresql+asyncpg://postgres@/{DATABASE}?{hosts}&target_session_attrs=read-write"

    def wait_for_each_commit(self) -> None:
        """Acknowledge a commit only after the replica has it on its disk."""
        self.primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.run("SELECT pg_reload_conf()")

    def wait_until_received(self) -> None:
        """Until the replica has all that the primary has written."""
        wanted = f"SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= '{self.primary.run(WRITTEN)[0][0]}'"  # noqa: S608 - ours
        assert wait_until(lambda: bool(self.primary.run(wanted)), STREAMS_WITHIN_S)


@contextmanager
def replicated() -> Iterator[Pair]:
    """Both, streaming."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stoker-pair-")))
        folder.chmod(0o755)  # Postgres may run as another user than this one
        primary = Node(folder / "a")
        stack.callback(primary.stop)
        primary.start()
        replica = Node(folder / "b", copied_from=primary)
        stack.callback(replica.stop)
        replica.start()
        assert wait_until(lambda: bool(primary.run(STREAMS)), STREAMS_WITHIN_S)
        yield Pair(primary, replica)
