"""A PgBouncer in transaction mode in front of a Postgres, reached through a Unix socket only.

Its program comes from the system, not from a wheel. It keeps nothing on disk but its settings. Everybody
who can enter its folder is the database's own user.
"""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from stoker.embedded import binaries
from stoker.embedded.identity import UNPRIVILEGED, Identity, for_postgres
from stoker.embedded.process import Server

PORT = 6432  # only part of the socket's name
ANSWER_DEADLINE_S = 1.0
SETTINGS = """\
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
pool_mode = {mode}
default_pool_size = {connections}
max_client_conn = 5000
server_login_retry = 1
query_wait_timeout = 5
auth_type = any
listen_port = {listen}
unix_socket_dir = {folder}
"""


class PgBouncer(Server):
    """A pooler of few connections: `connections` for each database. `mode`: transaction or session."""

    stop_signal = signal.SIGTERM  # at once; SIGINT would wait for its clients

    def __init__(self, database: URL, folder: Path, *, connections: int, mode: str = "transaction") -> None:
        """`folder`: a private one with a short path, its own, where its socket and its log are."""
        super().__init__("pgbouncer", folder / "pgbouncer.log")
        self._database = database
        self._folder = folder
        self._connections = connections
        self._mode = mode

    @property
    def url(self) -> str:
        """The same database by way of the pooler."""
        return self.through(self._database)

    def through(self, database: URL) -> str:
        """Another database of the same server, by way of the pooler."""
        place = database.set(host=None, port=None, query={"host": str(self._folder), "port": str(PORT)})
        return place.render_as_string(hide_password=False)

    def prepare(self) -> tuple[Sequence[str | Path], Identity]:
        """Write its settings; remove the socket that a killed one left."""
        identity = for_postgres()
        self._socket.unlink(missing_ok=True)
        settings = self._folder / "pgbouncer.ini"
        query = self._database.query
        settings.write_text(
            SETTINGS.format(
                host=query.get("host", self._database.host),
                port=query.get("port", self._database.port or 5432),
                user=self._database.username,
                mode=self._mode,
                connections=self._connections,
                listen=PORT,
                folder=self._folder,
            )
        )
        if identity is Identity.NOBODY:
            os.chown(self._folder, UNPRIVILEGED, UNPRIVILEGED)
            os.chown(settings, UNPRIVILEGED, UNPRIVILEGED)
        return [binaries.pgbouncer(), settings], identity

    def answers(self) -> bool:
        """Whether it accepts connections; whether Postgres does is not asked."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_DEADLINE_S)
            return connection.connect_ex(str(self._socket)) == 0

    def wipe(self) -> None:
        """Nothing: it has no data."""

    @property
    def _socket(self) -> Path:
        return self._folder / f".s.PGSQL.{PORT}"


@contextmanager
def pooled(database: URL, *, connections: int, mode: str = "transaction") -> Iterator[PgBouncer]:
    """A running one in a folder of its own; raises EmbeddedError where there is no program."""
    binaries.pgbouncer()
    folder = Path(tempfile.mkdtemp(prefix="stoker-pgbouncer-"))
    running = PgBouncer(database, folder, connections=connections, mode=mode)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
