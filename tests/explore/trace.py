"""A run in words: who did what in which step, with stamps and keys short enough to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stoker.cache.envelope import STAMP_BYTES, decode
from tests.explore.stage import Done
from tests.explore.valkey import SEAL, Server


@dataclass
class Trace:
    """Names what it meets: stamps are s1, s2, ... in the order of their first appearance."""

    server: Server
    stamps: dict[bytes, str] = field(default_factory=dict)

    def lines(self, steps: Sequence[Done]) -> Iterator[str]:
        """A line for each step."""
        width = max((len(step.actor) for step in steps), default=0)
        for number, step in enumerate(steps):
            asked = self._command(step.what) if isinstance(step.what, list) else str(step.what)
            answer = self._answer(step.what, step.result)
            yield f"{number:4}  {step.actor:{width}}  {asked}{'  ->  ' + answer if answer else ''}"

    def _command(self, command: list[bytes]) -> str:
        name = self.server.script(command) or command[0].decode()
        keys = {"begin": command[6:7], "store": command[5:6], "release": command[3:4]}.get(name, command[1:])
        under = {"store": command[7:9], "release": [command[4][:STAMP_BYTES]] if name == "release" else []}
        stamps = ", ".join(self._value(stamp) for stamp in under.get(name, ()))
        return f"{name} {', '.join(map(_key, keys))}{' under ' + stamps if stamps else ''}"

    def _answer(self, what: object, result: object) -> str:
        if isinstance(result, Exception):
            return f"{type(result).__name__}: {result}"
        name = self.server.script(what) if isinstance(what, list) else ""
        if name == "begin" and isinstance(result, list):
            won = "lease won" if result[2] else "lease held by another"
            return f"{self._value(result[0])}, {self._value(result[1])}, {won}"
        if name == "store":
            return "stored" if result == 1 else "superseded"
        if isinstance(what, list) and isinstance(result, list):
            return ", ".join(self._value(value) for value in result)
        if result is None or isinstance(what, list):
            return ""
        return (
            str(result) if isinstance(result, str) or not isinstance(result, list) else f"{len(result)} rows"
        )

    def _value(self, value: bytes | None) -> str:
        if value is None:
            return "-"
        if len(value) == STAMP_BYTES:
            return self.stamps.setdefault(value, f"s{len(self.stamps) + 1}")
        envelope = decode(value, SEAL)
        if envelope is None:
            return repr(value[:40])
        under = f"{self._value(envelope.stamp)}, {self._value(envelope.hard)}"
        return f"{envelope.packed.decode(errors='replace')} of {under}"


def _key(key: bytes) -> str:
    return key.decode().partition(":{")[2].replace("}:", " ")
