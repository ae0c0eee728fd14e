"""A primary, its replica, and three Sentinels that watch them, on loopback with passwords for both parts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from stoker.embedded import binaries
from stoker.embedded.cluster import free_ports
from stoker.embedded.identity import Identity
from stoker.embedded.process import wait_until
from stoker.embedded.valkey import Valkey

NAME = "main"
DOWN_AFTER_MS = 400


class Listening(Valkey):
    """A server of a role that also listens on a port, as replicas and Sentinels need it."""

    def __init__(
        self, name: str, folder: Path, port: int, options: Sequence[str], password: str = ""
    ) -> None:
        self.port = port
        self._password = password
        own = ["--bind", "127.0.0.1", "--port", str(port), "--repl-diskless-sync-delay", "0"]
        if password:
            own += ["--requirepass", password, "--masterauth", password]
        super().__init__(name, folder / name, folder, folder / f"{name}.log", [*own, *options])

    def ask(self, *commands: str) -> str:
        """The raw replies to commands."""
        entered = [f"AUTH {self._password}"] if self._password else []
        sent = "".join(f"{one}\r\n" for one in (*entered, *commands, "QUIT"))
        return self._ask(sent.encode()).decode(errors="replace").removeprefix("+OK\r\n" if entered else "")

    def answers(self) -> bool:
        """As of every Valkey, behind the password."""
        try:
            reply = self.ask("PING", "INFO server")
        except OSError:
            return False
        return reply.startswith("+PONG") and f"process_id:{self.pid}\r\n" in reply


class Sentinel(Listening):
    """One Sentinel."""

    def __init__(self, name: str, folder: Path, ports: tuple[int, int], passwords: tuple[str, str]) -> None:
        self._primary_port = ports[1]
        self._primary_password = passwords[1]
        super().__init__(name, folder, ports[0], (), passwords[0])
        self._client = Redis(port=ports[0], password=passwords[0], socket_timeout=2)

    def prepare(self) -> tuple[Sequence[str | Path], Identity]:
        """With the configuration that it keeps what it learns in."""
        super().prepare()
        file = self._data / "sentinel.conf"
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self._data}",
            f"unixsocket {self._socket}",
            f"requirepass {self._password}",
            f"sentinel sentinel-pass {self._password}",
            f"sentinel monitor {NAME} 127.0.0.1 {self._primary_port} 2",
            f"sentinel auth-pass {NAME} {self._primary_password}",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 3000",
        ]
        file.write_text("\n".join(lines) + "\n")
        return [binaries.valkey_server(), file, "--sentinel"], Identity.SELF

    def answers(self) -> bool:
        """It knows no QUIT, by which `ask` ends."""
        try:
            told: Any = self._client.info("server")
            return bool(told["process_id"] == self.pid)
        except (RedisError, OSError):
            return False

    def primary(self) -> int:
        """The port of the server that it names."""
        told: Any = self._client.sentinel_get_master_addr_by_name(NAME)  # type: ignore[no-untyped-call]
        return int(told[1])

    def knows(self) -> tuple[int, int]:
        """How many other Sentinels and replicas it knows."""
        told: Any = self._client.sentinel_master(NAME)  # type: ignore[no-untyped-call]
        return told["num-other-sentinels"], told["num-slaves"]

    def fail_over(self) -> bool:
        """Let the replica take over now; false while it has not heard from the replica lately."""
        try:
            self._client.execute_command("SENTINEL FAILOVER", NAME)  # type: ignore[no-untyped-call]
        except ResponseError:
            return False
        return True


class Watched:
    """The pair and its Sentinels. `options`: of both servers."""

    def __init__(self, folder: Path, options: Sequence[str] = ("--save", "")) -> None:
        of_servers, of_sentinels = secrets.token_hex(8), secrets.token_hex(8)
        ports = free_ports(5)
        self.servers = [
            Listening("a", folder, ports[0], options, of_servers),
            Listening("b", folder, ports[1], [*options, "--replicaof", f"127.0.0.1 {ports[0]}"], of_servers),
        ]
        self.sentinels = [
            Sentinel(f"s{port}", folder, (port, ports[0]), (of_sentinels, of_servers)) for port in ports[2:]
        ]
        self._passwords = (of_servers, of_sentinels)

    @property
    def url(self) -> str:
        """As an installation names them."""
        of_servers, of_sentinels = self._passwords
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://:{of_servers}@{hosts}/{NAME}/0?sentinel_password={of_sentinels}"

    def start(self) -> None:
        """Return when the Sentinels know each other and the replica."""
        for server in (*self.servers, *self.sentinels):
            server.start()
        if not wait_until(lambda: all(map(self._knows_all, self.sentinels)), 30):
            raise AssertionError("the Sentinels do not know each other")

    def stop(self) -> None:
        """End them all."""
        with ExitStack() as last:
            for one in (*self.servers, *self.sentinels):
                last.callback(one.kill)

    @property
    def primary(self) -> Listening:
        """The server that the Sentinels name now."""
        port = self.sentinels[0].primary()
        return next(one for one in self.servers if one.port == port)

    async def fail_over(self, *, kill: bool) -> None:
        """Let the other server take over; returns when it has, and all Sentinels know it."""
        old = await asyncio.to_thread(lambda: self.primary)
        if kill:
            old.kill()
        else:
            begun = await asyncio.to_thread(wait_until, self.sentinels[0].fail_over, 30)
            assert begun, "the Sentinel began no failover"
        [new] = [one for one in self.servers if one is not old]
        done = await asyncio.to_thread(wait_until, lambda: self._leads(new), 30)
        assert done, f"{new.name} did not take over"

    async def bring_back(self, server: Listening) -> None:
        """Start a killed server again; returns when it is the replica and in step."""
        await asyncio.to_thread(server.start)

        def in_step() -> bool:
            said = server.ask("INFO replication")
            return "role:slave" in said and "master_link_status:up" in said

        assert await asyncio.to_thread(wait_until, in_step, 30)

    @staticmethod
    def _knows_all(sentinel: Sentinel) -> bool:
        return sentinel.knows() == (2, 1)

    def _leads(self, server: Listening) -> bool:
        named = all(one.primary() == server.port for one in self.sentinels)
        return named and "role:master" in server.ask("INFO replication")
