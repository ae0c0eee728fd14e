"""Bounded staleness: an entry that this process found valid a moment ago is served without asking Redis.

Off by default. It gives up that no read begun after a change was applied shows what was before it: for
`near_unasked_ms` this process may still show it. Only entries that no access entry guards: who may read is
asked on every read, and then the entry's stamps travel along for nothing (RACES 20, 23).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from stoker.cache.near import Near
from stoker.cache.question import Question
from stoker.redis.connection import ServerRun

REMEMBERED = 10_000
"""Entries of which a process knows when it last asked; beyond them it begins anew."""


class Valid(NamedTuple):
    """Under which stamps an entry was found valid, by a call that began then, on the monotonic clock."""

    stamps: tuple[bytes, bytes]
    asked_s: float
    server: ServerRun


class Unasked:
    """When each kept entry was last found valid. The time counts from before Redis was asked."""

    def __init__(self, unasked_ms: int) -> None:
        self.on = unasked_ms > 0
        self._for_s = unasked_ms / 1000
        self._valid: dict[str, Valid] = {}
        self._since_s = 0.0

    def servers(self, question: Question, kept: Sequence[Near | None]) -> list[ServerRun]:
        """For each of these entries the server that called it valid; none if Redis must be asked."""
        since_s = max(self._since_s, self.now_s() - self._for_s)
        servers = []
        for names, near in zip(question.names, kept, strict=True):
            valid = self._valid.get(names.entry)
            if near is None or valid is None or valid.asked_s <= since_s:
                return []
            # What a late reply has put near since then was not found valid at that time.
            if valid.stamps != _stamps(near) or near.envelope.expired(valid.server.now_us()):
                return []
            servers.append(valid.server)
        return servers

    def valid(self, entry: str, near: Near, asked_s: float, server: ServerRun) -> None:
        """An entry was found valid by a call that began then, on the monotonic clock."""
        if len(self._valid) >= REMEMBERED:
            self._valid.clear()
        self._valid[entry] = Valid(_stamps(near), asked_s, server)

    def ask_again(self) -> None:
        """This process has seen a change applied, its own perhaps: nothing from before it is trusted."""
        self._since_s = self.now_s()

    @staticmethod
    def now_s() -> float:
        """The clock of the bound: monotonic."""
        return time.monotonic()


def _stamps(near: Near) -> tuple[bytes, bytes]:
    return near.envelope.stamp, near.envelope.hard
