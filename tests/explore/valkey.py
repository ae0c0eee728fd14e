"""The real server behind the explorer: commands go out one by one, when the explorer says so.

`SteppedClient` is the protocol's own CacheClient on a connection whose every command is a step. One blocking
connection serves all processes; the server's run, its restarts and lost replies are played here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import hiredis
from redis import Redis
from redis.exceptions import OutOfMemoryError

from stoker.cache.envelope import Seal
from stoker.redis.cache import CacheClient
from stoker.redis.connection import ServerRun, reply_error
from stoker.redis.errors import ConnectionLost
from stoker.redis.primary import SURE_S, PrimaryConnection
from stoker.redis.script import Script
from tests.explore.search import Footprint
from tests.explore.stage import Stage
from tests.explore.terms import SLOW

Command = list[bytes]
SEAL = Seal(b"of the explorer")
FULL = "OOM command not allowed when used memory > 'maxmemory'."


class ReplyLost(ConnectionLost):
    """A command was carried out, and nobody heard of it."""

    def __init__(self, reply: object) -> None:
        super().__init__("carried out, but the reply was lost")
        self.reply = reply


class Taped(NamedTuple):
    """What the server answered in one step, and what it held after it."""

    replies: list[list[Any]]
    values: Mapping[bytes, bytes]


class Reached(NamedTuple):
    """A server as one of its runs: what it holds, and its number."""

    values: Mapping[bytes, bytes]
    run: ServerRun
    number: int


class Server:
    """One raw connection to a real Valkey, and what the explorer has done to the server of this run.

    While `down`, nothing is answered; while `full`, scripts are refused. The next command of a process in
    `losing` is carried out, and its reply lost; only processes in `lossy` ever are. While `mirrored`, nobody
    else acts, and queries are answered from what the server is known to hold. A step that a run repeats
    is answered from the tape of the run before; the server is put back to where the runs part.

    After `fail_over` one process reaches the old primary, which answers as if nothing had happened, until it
    must ask again whether that is one.
    """

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        connection = self._redis.connection_pool.get_connection()
        connection.connect()
        self._socket = connection._sock
        self._parser = hiredis.Reader(replyError=reply_error)
        self.used: set[bytes] = set()
        self.scripts: dict[bytes, str] = {}
        self.lossy: frozenset[str] = frozenset()
        self.values: Mapping[bytes, bytes] = {}
        self.mirrored = False
        self.now_s: Callable[[], float] = lambda: 0.0
        self._astray = True
        self._tape: deque[list[Any]] | None = None
        self._said: list[list[Any]] = []
        self._clock_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self.reset({})

    def reset(self, values: Mapping[bytes, bytes], ages_us: int = 0) -> None:
        """Let the server hold these keys, and no others that were used here."""
        self.down = self.full = self.mirrored = False
        self.losing: set[str] = set()
        self.losing_script: tuple[str, str] | None = None
        self._behind, self._old, self._old_until_s = "", Reached({}, ServerRun(b"", 0), 0), 0.0
        self.excused_until_s = 0.0
        self._be(1, ages_us)
        self.values = values
        self._astray = True

    def restart(self, values: Mapping[bytes, bytes]) -> None:
        """Come back with these keys, under a new run id: every connection is lost."""
        self._be(self.run_number + 1, self.ages_us)
        gone = sorted(self.used - values.keys())
        self.do(*([("UNLINK", *gone)] if gone else []), *_set(values))

    def fail_over(self, behind: str, term_s: float) -> None:
        """A replica that has all is promoted; the process `behind` goes on asking the old primary.

        Its slow clock says when it has to ask whether that still is one; for a term longer it may serve what
        it was told before. Until then nothing is promised of its reads.
        """
        self._behind, self._old = behind, Reached(self.values, self.run, self.run_number)
        self._old_until_s = self.now_s() + SURE_S / SLOW
        self.excused_until_s = self._old_until_s + term_s
        self._be(self.run_number + 1, self.ages_us)

    def reached(self, process: str) -> Reached:
        """The server that a process reaches."""
        if process == self._behind and self.now_s() < self._old_until_s:
            return self._old
        return Reached(self.values, self.run, self.run_number)

    def excuses(self, process: str) -> bool:
        """Whether nothing is promised to a read of this process that begins now."""
        return process == self._behind and self.now_s() < self.excused_until_s

    def age(self, by_us: int) -> None:
        """Put the clock forward."""
        self._be(self.run_number, self.ages_us + by_us)

    def begin(self, taped: Taped | None) -> None:
        """A step begins; if it is on the tape, the server is not asked."""
        self._said = []
        self._tape = None
        if taped is not None:
            self._tape = deque(taped.replies)
            self.values = taped.values
            self._astray = True

    def end(self) -> Taped:
        """The step is over."""
        self._tape = None
        return Taped(self._said, self.values)

    def do(self, *commands: tuple[Any, ...] | Command) -> list[Any]:
        """Carry out commands now."""
        if self._tape is not None:
            return self._tape.popleft()
        before = self._back() if self._astray else []
        known = sorted(self.used)
        after: list[tuple[Any, ...]] = [("MGET", *known)] if known else []
        replies = self._exchange([*before, *commands, *after])
        self._astray = False
        if known:
            pairs = zip(known, replies.pop(), strict=True)
            self.values = {key: value for key, value in pairs if value is not None}
        self._said.append(replies[len(before) :])
        return replies[len(before) :]

    def script(self, command: Command) -> str:
        """Which of the protocol's scripts a command runs; empty for other commands."""
        return self.scripts.get(command[1], "") if command[0] == b"EVALSHA" else ""

    def known(self, command: Command) -> list[Any]:
        """The reply to an MGET from what the server is known to hold."""
        return [[self.values.get(key) for key in command[1:]]]

    def close(self) -> None:
        """Forget all keys and disconnect."""
        self.reset({})
        self._exchange(self._back())
        self._redis.close()

    def _back(self) -> list[tuple[Any, ...]]:
        gone = sorted(self.used - self.values.keys())
        return [*([("UNLINK", *gone)] if gone else []), *_set(self.values)]

    def _exchange(self, commands: Sequence[tuple[Any, ...] | Command]) -> list[Any]:
        self._socket.sendall(b"".join(hiredis.pack_command(tuple(command)) for command in commands))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._parser.gets()
            if reply is False:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise OSError("the server closed the explorer's connection")
                self._parser.feed(data)
            else:
                replies.append(reply)
        return replies

    def _be(self, run_number: int, ages_us: int) -> None:
        self.run_number = run_number
        self.ages_us = ages_us
        self.run = ServerRun(b"%016x" % run_number, self._clock_us + ages_us)


def _set(values: Mapping[bytes, bytes]) -> list[tuple[Any, ...]]:
    return [("MSET", *(part for pair in values.items() for part in pair))] if values else []


class SteppedConnection:
    """A connection of one process: stands in SharedConnection's place."""

    def __init__(self, server: Server, stage: Stage, process: str) -> None:
        self._server = server
        self._stage = stage
        self._process = process
        reached = server.reached(process)
        self.server, self.run_number = reached.run, reached.number

    async def send(self, packed: bytes, count: int) -> list[Any]:
        """Each command is a step of its own, as other clients' commands may come between."""
        parser = hiredis.Reader()
        parser.feed(packed)
        if self._server.mirrored and b"MGET" in packed[:16]:
            self.server = self._server.run
            return self._server.known(cast("Command", parser.gets()))
        replies = []
        for _ in range(count):
            command = cast("Command", parser.gets())
            footprint = self._footprint(command)
            replies.append(await self._stage.ask(command, footprint, partial(self._carry_out, command)))
        return replies

    def _carry_out(self, command: Command) -> object:
        server, keys = self._server, touches(command, self._server.scripts)
        reached = server.reached(self._process)
        if reached.number != server.run_number and command[0] == b"MGET":
            self._stage.untouched(*keys)
            return [reached.values.get(key) for key in command[1:]]
        if server.down or self.run_number != server.run_number:
            self._stage.untouched(*keys)
            raise ConnectionLost("the server of this connection is gone")
        if server.full and command[0] == b"EVALSHA":
            self._stage.untouched(*keys)
            return OutOfMemoryError(FULL)
        self.server = server.run
        before = server.values
        [reply] = server.do(command)
        self._stage.only_read(*(key for key in keys if _same(before, server.values, key)))
        named = self._process, server.script(command)
        if self._process in server.losing or named == server.losing_script:
            server.losing.discard(self._process)
            server.losing_script = None
            raise ReplyLost(reply)
        self._stage.only_read(f"connection:{self._process}")
        return reply

    def _footprint(self, command: Command) -> Footprint:
        touched = touches(command, self._server.scripts)
        self._server.used.update(key.encode() for key in touched)
        touched["server"] = touched["room"] = "r"
        if self._process in self._server.lossy:
            touched[f"connection:{self._process}"] = "w"
        return touched


def touches(command: Command, scripts: Mapping[bytes, str]) -> dict[str, str]:
    """The keys of a command and what it does to them."""
    if command[0] == b"PING":
        return {}
    if command[0] == b"MGET":
        return {key.decode(): "r" for key in command[1:]}
    if command[0] == b"UNLINK":
        return {key.decode(): "d" for key in command[1:]}
    assert command[0] == b"EVALSHA", f"the explorer does not know {command[0]!r}"
    keys = [key.decode() for key in command[3 : 3 + int(command[2])]]
    # begin: soft stamp, hard stamp, lease, entry; store: soft stamp, hard stamp, entry, lease; release: lease
    modes = {"begin": "wwwr", "store": "rrww", "release": "w"}[scripts[command[1]]]
    return dict(zip(keys, modes, strict=True))


def _same(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes], key: str) -> bool:
    return before.get(key.encode()) == after.get(key.encode())


class SteppedClient(CacheClient):
    """The protocol's client, its connection stepped."""

    def __init__(self, server: Server, process: str) -> None:
        super().__init__("unix:///nowhere", timeout_s=1, connections=1)
        self._server = server
        self._process = process
        self.stage: Stage | None = None
        self._connection: SteppedConnection | None = None

    def join(self, stage: Stage) -> None:
        """Belong to a new run of the program."""
        self.stage = stage
        self._connection = None

    def learn(self, *scripts: Script) -> None:
        """Let the server know the scripts of this process, by what they do."""
        for script in scripts:
            self._server.scripts[script.digest.encode()] = script.name
            self._server.do(("SCRIPT", "LOAD", script.source))

    def _free(self) -> PrimaryConnection:
        assert self.stage is not None
        if (
            self._connection is None
            or self._connection.run_number != self._server.reached(self._process).number
        ):
            self._connection = SteppedConnection(self._server, self.stage, self._process)
        return cast("PrimaryConnection", self._connection)
