"""Valkey in its two roles: a queue that keeps everything, a cache that may evict anything.

Reached through a Unix socket only. The queue survives SIGKILL (append-only file, written before each
reply); the cache keeps nothing on disk.
"""

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from stoker.embedded import binaries
from stoker.embedded.identity import Identity
from stoker.embedded.process import EmbeddedError, Server

ANSWER_DEADLINE_S = 1.0
REPLY_BYTES = 65536


class Valkey(Server):
    """A Valkey server with the options of its role."""

    def __init__(self, name: str, data: Path, sockets: Path, log: Path, options: Sequence[str]) -> None:
        super().__init__(name, log)
        self._data = data
        self._socket = sockets / f"{name}.sock"
        self._options = options

    @property
    def url(self) -> str:
        """For redis-py and arq."""
        return f"unix://{quote(str(self._socket))}?db=0"

    def prepare(self) -> tuple[Sequence[str | Path], Identity]:
        """Remove the socket that a killed server left."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        place = ("--port", "0", "--unixsocket", self._socket, "--unixsocketperm", "700", "--dir", self._data)
        return [binaries.valkey_server(), *place, "--daemonize", "no", *self._options], Identity.SELF

    def answers(self) -> bool:
        """PING is refused while data is loading. The process id shows that the answer is this server's."""
        try:
            reply = self._ask(b"PING\r\nINFO server\r\nQUIT\r\n")
        except OSError:
            return False
        return reply.startswith(b"+PONG") and f"process_id:{self.pid}\r\n".encode() in reply

    def wipe(self) -> None:
        """Remove the data of the stopped server."""
        if self.running:
            raise EmbeddedError(f"{self.name} still runs: its data cannot be removed")
        shutil.rmtree(self._data, ignore_errors=True)

    def _ask(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_DEADLINE_S)
            connection.connect(str(self._socket))
            connection.sendall(request)
            reply = b""
            while chunk := connection.recv(REPLY_BYTES):
                reply += chunk
            return reply


def queue(folder: Path, sockets: Path, log: Path, *, durable: bool) -> Valkey:
    """The role that must not lose or evict: append-only file, `noeviction`."""
    sync = "everysec" if durable else "no"
    options = ["--appendonly", "yes", "--appendfsync", sync, "--save", "", "--maxmemory-policy", "noeviction"]
    return Valkey("queue", folder, sockets, log, options)


def cache(folder: Path, sockets: Path, log: Path) -> Valkey:
    """The role that may evict: 256 MB, least frequently used entries first, nothing on disk."""
    memory = ["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lfu"]
    return Valkey("cache", folder, sockets, log, [*memory, "--appendonly", "no", "--save", ""])
