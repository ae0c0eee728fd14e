"""A Valkey that listens on a port of loopback, as replicas, nodes of a cluster and Sentinels need it.

Everybody on the machine can reach a port, so it asks for a password.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from stoker.embedded.identity import Identity
from stoker.embedded.valkey import Valkey

LOOPBACK = "127.0.0.1"


class Listening(Valkey):
    """A server with a port beside its socket. Without a password it asks for none.

    It keeps its configuration with its data, where Sentinels write which server it follows.
    """

    def __init__(  # noqa: PLR0913 - what such a server is
        self,
        name: str,
        folder: Path,
        port: int,
        options: Sequence[str],
        *,
        password: str = "",
        follows: int | None = None,
        log: Path | None = None,
    ) -> None:
        """`folder`: of data and sockets; its path must be short. `follows`: its first primary's port."""
        self.port = port
        self.password = password
        self._follows = follows
        own = ["--bind", LOOPBACK, "--port", str(port), "--repl-diskless-sync-delay", "0"]
        super().__init__(name, folder / name, folder, log or folder / f"{name}.log", [*own, *options])

    @property
    def address(self) -> str:
        """Where clients reach it, as `host:port`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """Of this server alone."""
        return f"redis://:{self.password}@{self.address}/0"

    def prepare(self) -> tuple[Sequence[str | Path], Identity]:
        """Also write the password to a file, once: arguments can be seen by everybody."""
        [program, *options], identity = super().prepare()
        configuration = self._data / "valkey.conf"
        if not configuration.exists():
            configuration.touch(mode=0o600)
            configuration.write_text("\n".join([*self._first_lines(), ""]))
        return [program, configuration, *options], identity

    def ask(self, *commands: str) -> str:
        """The raw replies to commands without spaces in their arguments."""
        entered = [f"AUTH {self.password}"] if self.password else []
        sent = "".join(f"{one}\r\n" for one in (*entered, *commands, "QUIT"))
        return self._ask(sent.encode()).decode(errors="replace").removeprefix("+OK\r\n" if entered else "")

    def answers(self) -> bool:
        """As of every Valkey, behind the password."""
        try:
            reply = self.ask("PING", "INFO server")
        except OSError:
            return False
        return reply.startswith("+PONG") and f"process_id:{self.pid}\r\n" in reply

    def leads(self) -> bool:
        """Whether it says that it is a primary."""
        return "role:master" in self.ask("INFO replication")

    def _first_lines(self) -> Iterator[str]:
        if self.password:
            yield from (f"requirepass {self.password}", f"masterauth {self.password}")
        if self._follows is not None:
            yield f"replicaof {LOOPBACK} {self._follows}"


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            one = held.enter_context(socket.socket())
            one.bind((LOOPBACK, 0))
            found.append(one.getsockname()[1])
        return found
