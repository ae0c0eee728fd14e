"""Who reads which entry: what the predictor of warming learns from.

A process notes at most one visit of each entry between two flushes, by the reader who came first, so a hit
costs nothing more and a client that reads an entry over and over counts once. Readers are stored as digests.
The flush of the accounting sends visits to one bounded sorted set of the cache Redis, where the worker and
`stoker trace record` fetch them. Losing them loses a signal, never correctness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from pydantic_core import from_json, to_json

from stoker.cache.keys import KeySpace
from stoker.cache.readers import SYSTEM
from stoker.cache.view import Scope
from stoker.numbers import LATEST_S, real
from stoker.redis.cache import CacheClient

PENDING = 512
"""Visits of a process between two flushes; of more, the first count."""
OF_ONE_READER = 64
"""The most of them that one reader has: a crawler does not push the others out."""
LONGEST_MEMBER = 300
"""Longest name of an entry in bytes that is noted."""
KEPT = 50_000
"""Pairs of reader and entry in the sorted set; the oldest are dropped."""
LIFE_MS = 86400 * 1000
OVERLAP_S = 1.0
"""Visits so much older than the last one are fetched again: two processes may write the same moment."""
CHANGES_PENDING = 2_000
"""Changed scopes of a process between two flushes; of more, the first count."""
CHANGES_KEPT = 20_000
ANONYMOUS = b"-"
"""Stands for a reader that is not named."""


class Visit(NamedTuple):
    """A read of an entry: when (seconds since 1970, by the cache), by whom, of what (`write_key`)."""

    at: float
    reader: bytes
    member: bytes


class Change(NamedTuple):
    """An invalidation: when, of which scope, and of which of its views."""

    at: float
    scope: Scope
    views: frozenset[str]


@dataclass(frozen=True)
class Position:
    """How far visits were fetched: the time of the last one, and those near it that were fetched."""

    at: float = 0.0
    near: frozenset[bytes] = frozenset()


class Visits:
    """Visits of one process that were not sent yet."""

    def __init__(self) -> None:
        self._readers: dict[bytes, object] = {}
        self._of_reader: Counter[object] = Counter()

    def __bool__(self) -> bool:
        return bool(self._readers)

    def note(self, member: bytes, reader: object) -> None:
        """An entry was read. Jobs (SYSTEM) are no readers."""
        readers = self._readers
        if member in readers or len(readers) >= PENDING or reader is SYSTEM or len(member) > LONGEST_MEMBER:
            return
        if reader is not None:
            reader = str(reader)
            if self._of_reader[reader] >= OF_ONE_READER:
                return
            self._of_reader[reader] += 1
        readers[member] = reader

    def take(self) -> Mapping[bytes, object]:
        """The visits so far, and none from now on: entries and their readers."""
        taken, self._readers, self._of_reader = self._readers, {}, Counter()
        return taken


def visited(keys: KeySpace, visits: Mapping[bytes, object], now_us: int) -> list[tuple[object, ...]]:
    """The commands that note visits, at the time of the cache server."""
    if not visits:
        return []
    now = f"{now_us / 1e6:.3f}"
    pairs: list[object] = []
    for member, reader in visits.items():
        pairs += [now, _digest(keys, reader) + b" " + member]
    return _added(keys.visits, pairs, KEPT)


def changed(keys: KeySpace, changes: Iterable[bytes], now_us: int) -> list[tuple[object, ...]]:
    """The commands that note changes (`change_member`), at the time of the cache server."""
    now = f"{now_us / 1e6:.3f}"
    pairs = [part for member in changes for part in (now, member)]
    return _added(keys.changed, pairs, CHANGES_KEPT) if pairs else []


def change_member(scope: Scope, views: Iterable[str]) -> bytes:
    """An invalidation as it is stored."""
    return to_json([scope.kind, scope.id, sorted(views)])


def _added(key: str, pairs: Sequence[object], kept: int) -> list[tuple[object, ...]]:
    return [
        ("ZADD", key, "GT", *pairs),
        ("ZREMRANGEBYRANK", key, 0, -kept - 1),
        ("PEXPIRE", key, LIFE_MS),
    ]


async def visits_since(
    client: CacheClient, keys: KeySpace, position: Position, limit: int = KEPT
) -> tuple[list[Visit], Position]:
    """Visits that were not fetched yet, in the order of time, and the new position.

    Raises CacheUnavailable. Several visits of one entry by one reader since the last time are one, the last.
    """
    fresh, position = await _since(client, keys.visits, position, limit)
    split = [(at, *name.partition(b" ")) for at, name in fresh]
    return [Visit(at, reader, member) for at, reader, _, member in split], position


async def changes_since(
    client: CacheClient, keys: KeySpace, position: Position, limit: int = CHANGES_KEPT
) -> tuple[list[Change], Position]:
    """Invalidations that were not fetched yet, in the order of time, and the new position."""
    fresh, position = await _since(client, keys.changed, position, limit)
    changes = [(at, _read_change(name)) for at, name in fresh]
    return [Change(at, *one) for at, one in changes if one is not None], position


def _read_change(member: bytes) -> tuple[Scope, frozenset[str]] | None:
    try:
        kind, scope_id, views = from_json(member)
        return Scope(str(kind), str(scope_id)), frozenset(map(str, views))
    except (ValueError, TypeError):
        return None


async def _since(
    client: CacheClient, key: str, position: Position, limit: int
) -> tuple[list[tuple[float, bytes]], Position]:
    now = (await client.server(key)).now_us() / 1e6
    if position.at > now + OVERLAP_S:  # another server, whose clock is behind
        position = Position(now)
    since = position.at - OVERLAP_S
    answer = await client.call(
        ("ZRANGE", key, f"{since:.3f}", "+inf", "BYSCORE", "LIMIT", 0, limit, "WITHSCORES")
    )
    names, scores = answer.first()[::2], answer.first()[1::2]
    found = [(real(score, most=LATEST_S), name) for name, score in zip(names, scores, strict=True)]
    last = max((at for at, _ in found), default=position.at)
    near = frozenset(b"%.3f " % at + name for at, name in found if at >= last - OVERLAP_S)
    fresh = [(at, name) for at, name in found if b"%.3f " % at + name not in position.near]
    return fresh, Position(last, near)


def _digest(keys: KeySpace, reader: object) -> bytes:
    if reader is None:
        return ANONYMOUS
    return blake2b(str(reader).encode(), digest_size=6, key=keys.root.encode()[:64]).hexdigest().encode()
