"""How much memory a Redis uses, how much it may use, and what it has removed, as it says itself (INFO)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from stoker.redis.run import field

QUESTION = ("INFO",)
"""The command whose reply `memory_of` reads: its default sections have all of it."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one server; `limit_bytes` is None without a limit. Keys are counted since it was started."""

    used_bytes: int
    limit_bytes: int | None
    policy: str
    evicted: int
    """Keys that it removed before their time, to make room."""
    expired: int
    """Keys that it removed because their time had passed."""
    started_at_s: float
    """When it was started, by this host's clock, in seconds since 1970; to a second or two."""

    @property
    def evicts(self) -> bool:
        """Whether it makes room by removing keys; else it refuses what is new once it is full."""
        return self.policy != "noeviction"

    @property
    def is_full(self) -> bool:
        """Whether it has reached its limit."""
        return self.limit_bytes is not None and self.used_bytes >= self.limit_bytes


def memory_of(info: bytes) -> Memory:
    """What the reply to QUESTION says; a number that is missing counts as 0."""
    return Memory(
        used_bytes=_number(info, b"used_memory"),
        limit_bytes=_number(info, b"maxmemory") or None,
        policy=field(info, b"maxmemory_policy").decode(errors="replace") or "unknown",
        evicted=_number(info, b"evicted_keys"),
        expired=_number(info, b"expired_keys"),
        started_at_s=time.time() - _number(info, b"uptime_in_seconds"),
    )


def together(nodes: Sequence[Memory]) -> Memory:
    """The memory of the nodes of a cluster. It is full when one of them is: each has keys of its own."""
    first = next((node for node in nodes if node.is_full), nodes[0])
    if len(nodes) == 1 or first.is_full:
        limit, used = first.limit_bytes, first.used_bytes
    else:
        used = sum(node.used_bytes for node in nodes)
        limits = [node.limit_bytes for node in nodes if node.limit_bytes is not None]
        limit = sum(limits) if len(limits) == len(nodes) else None
    return Memory(
        used_bytes=used,
        limit_bytes=limit,
        policy=first.policy,
        evicted=sum(node.evicted for node in nodes),
        expired=sum(node.expired for node in nodes),
        started_at_s=max(node.started_at_s for node in nodes),
    )


def _number(info: bytes, name: bytes) -> int:
    value = field(info, name)
    return int(value) if value.isdigit() else 0
