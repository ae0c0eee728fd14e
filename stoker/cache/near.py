"""Entries kept in this process, so that a hit moves stamps instead of bodies.

An entry is served only after its stamps were read in the same request (RACES 20), so it is as fresh as one
from Redis. Dropping an entry costs a longer reply, nothing else.

The exception is bounded staleness (`near_unasked_ms`, off by default): an entry that was found valid less
than that long ago is served without asking Redis, so it may be that much older than what was applied since.
This holds only for entries that no access entry guards: rights are read on every read, and the stamps of the
guarded entry come with the same reply (RACES 20, 23).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from stoker.cache.envelope import Envelope
from stoker.cache.keys import EntryNames
from stoker.cache.reading import Content
from stoker.redis.connection import ServerRun

OVERHEAD_BYTES = 1024
"""Memory of an entry besides its body, roughly."""
DECODED_FACTOR = 4
"""Memory of a decoded body per byte of its JSON: every entry is counted as if it were decoded."""
REMEMBERED = 10_000
"""Entries whose last validation is remembered; with more of them, all are forgotten."""


class Near(NamedTuple):
    """A kept entry: the envelope that its stamps are compared with, and its content."""

    envelope: Envelope
    content: Content


class NearCache:
    """The most recently read entries within a budget of bytes; 0 keeps none."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[str, Near] = OrderedDict()
        self.bytes = 0

    def get(self, entry: str) -> Near | None:
        """The kept entry of that name, not yet validated."""
        near = self._kept.get(entry)
        if near is not None:
            self._kept.move_to_end(entry)
        return near

    def peek(self, entry: str) -> Near | None:
        """As `get`, for another thread than the loop's: it changes nothing."""
        return self._kept.get(entry)

    def put(self, entry: str, near: Near) -> None:
        """Keep an entry that was valid a moment ago."""
        size = _size(near)
        if size > self._budget_bytes // 8:
            return  # one entry must not push out everything else
        self.drop(entry)
        self._kept[entry] = near
        self.bytes += size
        while self.bytes > self._budget_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= _size(oldest)

    def drop(self, entry: str) -> None:
        """Forget an entry."""
        near = self._kept.pop(entry, None)
        if near is not None:
            self.bytes -= _size(near)


class Valid(NamedTuple):
    """The stamps under which an entry was found valid, and when that call began, on the monotonic clock."""

    stamps: tuple[bytes, bytes]
    asked_s: float
    server: ServerRun


class Unasked:
    """When each kept entry was last found valid. The time is the one before Redis was asked."""

    def __init__(self, unasked_ms: int) -> None:
        self.on = unasked_ms > 0
        self._for_s = unasked_ms / 1000
        self._valid: dict[str, Valid] = {}
        self._since_s = 0.0

    def servers(self, names: Sequence[EntryNames], kept: Sequence[Near | None]) -> list[ServerRun]:
        """The server on which each of these entries was found valid; empty if Redis must be asked."""
        since_s = max(self._since_s, self.now_s() - self._for_s)
        servers = []
        for own, near in zip(names, kept, strict=True):
            valid = self._valid.get(own.entry)
            if near is None or valid is None or valid.asked_s <= since_s:
                return []
            # A late reply may have replaced the kept entry since: the new one was not validated then.
            if valid.stamps != _stamps(near) or near.envelope.expired(valid.server.now_us()):
                return []
            servers.append(valid.server)
        return servers

    def valid(self, entry: str, near: Near, asked_s: float, server: ServerRun) -> None:
        """Note that a call that began at `asked_s`, on the monotonic clock, found an entry valid."""
        if len(self._valid) >= REMEMBERED:
            self._valid.clear()
        self._valid[entry] = Valid(_stamps(near), asked_s, server)

    def ask_again(self) -> None:
        """Trust no validation from before now: this process has seen a change applied."""
        self._since_s = self.now_s()

    @staticmethod
    def now_s() -> float:
        """The clock of the bound: monotonic."""
        return time.monotonic()


def _stamps(near: Near) -> tuple[bytes, bytes]:
    return near.envelope.stamp, near.envelope.hard


def _size(near: Near) -> int:
    envelope = near.envelope
    return len(envelope.packed) + envelope.body_bytes * (1 + DECODED_FACTOR) + OVERHEAD_BYTES
