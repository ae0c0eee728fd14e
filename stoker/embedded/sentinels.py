"""Three Sentinels and what they watch: a primary and its replica for each name, on loopback.

Servers and Sentinels ask for passwords that are drawn here. Each is a `Server`, so a test can kill, pause and
restart it. They die with the process that started them.
"""

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from stoker.embedded import binaries
from stoker.embedded.identity import Identity
from stoker.embedded.listening import LOOPBACK, Listening, free_ports
from stoker.embedded.process import EmbeddedError, wait_until

SENTINELS = 3
DOWN_AFTER_MS = 2000
"""down-after-milliseconds: short, so that a failover takes three or four seconds.

A Sentinel connects again once a second. With less than that it takes a server for dead that has only ended
its connections, as one does that is promoted.
"""
HEARD_MS = 1100
"""A Sentinel asks a server once a second."""
WITHIN_S, SELDOM_S = 30.0, 0.1


class Sentinel(Listening):
    """One Sentinel. `watched`: the lines of its first configuration."""

    def __init__(self, name: str, folder: Path, port: int, password: str, watched: Sequence[str]) -> None:
        super().__init__(name, folder, port, (), password=password)
        self._watched = watched
        self._client = Redis(port=port, password=password, socket_timeout=2)

    def prepare(self) -> tuple[Sequence[str | Path], Identity]:
        """With the file that it keeps what it learns in: a restart must not forget a failover."""
        super().prepare()
        file = self._data / "sentinel.conf"
        own = [
            *(f"port {self.port}", f"bind {LOOPBACK}", f"dir {self._data}", f"unixsocket {self._socket}"),
            *(f"requirepass {self.password}", f"sentinel sentinel-pass {self.password}"),
        ]
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text("\n".join([*own, *self._watched]) + "\n")
        return [binaries.valkey_server(), file, "--sentinel"], Identity.SELF

    def answers(self) -> bool:
        """It knows no QUIT, by which `ask` ends."""
        try:
            told: Any = self._client.info("server")
            return bool(told["process_id"] == self.pid)
        except (RedisError, OSError):
            return False

    def primary(self, name: str) -> int:
        """The port of the server that it names."""
        told: Any = self._client.sentinel_get_master_addr_by_name(name)  # type: ignore[no-untyped-call]
        return int(told[1])

    def knows(self, name: str) -> tuple[int, int]:
        """How many other Sentinels and replicas it knows."""
        told: Any = self._client.sentinel_master(name)  # type: ignore[no-untyped-call]
        return told["num-other-sentinels"], told["num-slaves"]

    def silence_ms(self, name: str) -> int:
        """For how long it has not heard from the primary, in milliseconds."""
        told: Any = self._client.sentinel_master(name)  # type: ignore[no-untyped-call]
        return int(told["last-ok-ping-reply"])

    def do(self, *command: str) -> bool:
        """Ask it to do something; false where it cannot now."""
        try:
            self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            return False
        return True


class Watched:
    """A primary and its replica, by the name that the Sentinels know."""

    def __init__(
        self, name: str, servers: Sequence[Listening], sentinels: Sequence[Sentinel], password: str
    ) -> None:
        self.name = name
        self.servers = servers
        self.sentinels = sentinels
        self._password = password
        """Of the Sentinels."""

    @property
    def url(self) -> str:
        """As an installation names them."""
        hosts = ",".join(one.address for one in self.sentinels)
        own = self.servers[0].password
        return f"redis+sentinel://:{own}@{hosts}/{self.name}/0?sentinel_password={self._password}"

    @property
    def primary(self) -> Listening:
        """The server that most Sentinels name; raises EmbeddedError where none answers."""
        named = self._named()
        if not named:
            raise EmbeddedError(f"no Sentinel says where {self.name} is")
        [(port, _)] = Counter(named).most_common(1)
        return next(one for one in self.servers if one.port == port)

    def other(self, server: Listening) -> Listening:
        """The one of the two that it is not."""
        return next(one for one in self.servers if one is not server)

    def fail_over(self, *how: str) -> None:
        """Let the replica take over; returns when it leads and all Sentinels know it.

        `how`: COORDINATED waits for the replica and demotes the primary first. Without it the primary goes on
        for some ten seconds beside the new one, with the clients that it has.
        """
        old, asked = self.primary, next(one for one in self.sentinels if one.running)
        # It refuses while it has not heard from the replica lately.
        if not wait_until(lambda: asked.do("SENTINEL", "FAILOVER", self.name, *how), WITHIN_S, SELDOM_S):
            raise EmbeddedError(f"the Sentinels began no failover of {self.name}")
        self.wait_led_by(self.other(old))

    def wait_led_by(self, server: Listening) -> None:
        """Wait until the server leads and all Sentinels know it; raises EmbeddedError."""

        def leads() -> bool:
            return set(self._named()) == {server.port} and server.leads()

        if not wait_until(leads, WITHIN_S):
            raise EmbeddedError(f"{server.name} did not take over")

    def bring_back(self, server: Listening) -> None:
        """Start a killed server again; returns when it is the replica and in step."""
        server.start()
        self.wait_in_step()

    def wait_in_step(self) -> None:
        """Wait until one leads, the other follows it, and all Sentinels know it; raises EmbeddedError."""
        if not wait_until(self._is_in_step, WITHIN_S, SELDOM_S):
            raise EmbeddedError(f"the replica of {self.name} is not in step")

    def down_after(self, milliseconds: int) -> None:
        """After which silence the Sentinels count the primary as down."""
        for one in self.sentinels:
            one.do("SENTINEL", "SET", self.name, "down-after-milliseconds", str(milliseconds))

    def wait_heard_from(self) -> None:
        """Wait until all Sentinels hear from the primary again; raises EmbeddedError."""
        if not wait_until(self._is_heard_from, WITHIN_S, SELDOM_S):
            raise EmbeddedError(f"the Sentinels do not hear from {self.name}")

    def _is_heard_from(self) -> bool:
        try:
            return all(one.silence_ms(self.name) < HEARD_MS for one in self.sentinels)
        except (RedisError, OSError):  # one of them was killed just now
            return False

    def _is_in_step(self) -> bool:
        try:
            leading = [one for one in self.servers if one.leads()]
            if len(leading) != 1 or set(self._named()) != {leading[0].port}:
                return False
            if "master_link_status:up" not in self.other(leading[0]).ask("INFO replication"):
                return False
            known = (one.knows(self.name) for one in self.sentinels if one.running)
            return set(known) == {(SENTINELS - 1, 1)}
        except (RedisError, OSError):  # one of them was killed just now
            return False

    def _named(self) -> Sequence[int]:
        """The ports that the Sentinels name which answer."""
        found = []
        for one in self.sentinels:
            with suppress(RedisError, OSError):
                found.append(one.primary(self.name))
        return found


@contextmanager
def watching(folder: Path, options: Mapping[str, Sequence[str]]) -> Iterator[Mapping[str, Watched]]:
    """Running Sentinels and pairs, by name, with these options of both servers.

    `folder`: of data and sockets; its path must be short. Raises EmbeddedError.
    """
    of_servers, of_sentinels = secrets.token_hex(8), secrets.token_hex(8)
    pairs = {name: _pair(name, folder, more, of_servers) for name, more in options.items()}
    lines = [line for name, pair in pairs.items() for line in _monitored(name, pair[0])]
    sentinels = [
        Sentinel(f"s{number}", folder, port, of_sentinels, lines)
        for number, port in enumerate(free_ports(SENTINELS), 1)
    ]
    found = {name: Watched(name, pair, sentinels, of_sentinels) for name, pair in pairs.items()}
    with ExitStack() as last:
        for one in (*(server for pair in pairs.values() for server in pair), *sentinels):
            last.callback(one.kill)
            one.start()
        for watched in found.values():
            watched.wait_in_step()
        yield found


def _pair(name: str, folder: Path, options: Sequence[str], password: str) -> Sequence[Listening]:
    first, second = free_ports(2)
    return [
        Listening(f"{name}-a", folder, first, options, password=password),
        Listening(f"{name}-b", folder, second, options, password=password, follows=first),
    ]


def _monitored(name: str, primary: Listening) -> Sequence[str]:
    return [
        f"sentinel monitor {name} {LOOPBACK} {primary.port} {SENTINELS // 2 + 1}",
        f"sentinel auth-pass {name} {primary.password}",
        f"sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {name} 3000",
    ]
