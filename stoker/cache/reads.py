"""Which entries are read, when last and how often: refreshing and warming rank entries by it.

Two bounded sorted sets in the cache Redis, fed by every process's flush. Losing them loses a ranking, never
correctness. Everything here raises CacheUnavailable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from stoker.cache.keys import KeySpace, parse_key, write_key
from stoker.cache.view import EntryKey
from stoker.numbers import LATEST_S, real
from stoker.redis.cache import CacheClient
from stoker.redis.script import Script

READS_KEPT = 20_000
"""Entries in each sorted set. The least recently, or least often, read ones are dropped."""
READS_LIFE_MS = 90 * 86400 * 1000
HALF_LIFE_S = 1800.0
"""After this time a read counts half as much. All processes must use the same value, because their counts are
merged."""
READS = Script("stoker.cache", "reads")
ENTRIES_PER_CALL = 500
"""Entries in one run of the script: short enough not to hold up readers."""


def noted(keys: KeySpace, reads: Mapping[bytes, int], now_us: int) -> list[tuple[object, ...]]:
    """The commands that note reads, given how often each member was read since the last time.

    The time is that of the cache server, because hosts' clocks differ.
    """
    names = (keys.reads, keys.heat)
    shared = (f"{now_us / 1e6:.3f}", HALF_LIFE_S, READS_KEPT, READS_LIFE_MS)
    pairs = iter(reads.items())
    commands = []
    while some := list(islice(pairs, ENTRIES_PER_CALL)):
        commands.append(READS.call(names, *shared, *(part for pair in some for part in pair)))
    return commands


async def hottest(client: CacheClient, keys: KeySpace, limit: int) -> list[tuple[EntryKey, float]]:
    """The entries that are read most, hottest first, each with its reads.

    A read counts 1 when it is made, and half as much after every HALF_LIFE_S.
    """
    answer = await client.call(("ZRANGE", keys.heat, 0, limit - 1, "REV", "WITHSCORES"))
    members, heats = answer.first()[::2], answer.first()[1::2]
    now_s = answer.server.now_us() / 1e6
    found = [
        (parse_key(member), _reads(_heat(heat), now_s)) for member, heat in zip(members, heats, strict=True)
    ]
    return [(key, reads) for key, reads in found if key is not None]


async def recently_read(
    client: CacheClient, keys: KeySpace, within_s: float, limit: int
) -> list[tuple[EntryKey, float]]:
    """Entries read in the last seconds, the latest first, each with its last read (seconds since 1970)."""
    since = (await client.server(keys.reads)).now_us() / 1e6 - within_s
    answer = await client.call(
        (
            *("ZRANGE", keys.reads, "+inf", since),
            *("BYSCORE", "REV", "LIMIT", 0, limit, "WITHSCORES"),
        )
    )
    members, scores = answer.first()[::2], answer.first()[1::2]
    found = [(parse_key(member), _moment(score)) for member, score in zip(members, scores, strict=True)]
    return [(key, at) for key, at in found if key is not None]


async def last_reads(
    client: CacheClient, keys: KeySpace, entries: Sequence[EntryKey]
) -> dict[EntryKey, float | None]:
    """When entries were last read, in the server's seconds since 1970; the hottest first.

    None for those that are not remembered.
    """
    if not entries:
        return {}
    members = [write_key(key) for key in entries]
    answer = await client.call(("ZMSCORE", keys.reads, *members), ("ZMSCORE", keys.heat, *members))
    last, heats = answer.all()
    ranked = sorted(zip(entries, last, heats, strict=True), key=lambda one: -_heat(one[2]))
    return {key: None if at is None else _moment(at) for key, at, _ in ranked}


def _moment(score: Any) -> float:  # noqa: ANN401 - what somebody has written
    return real(score, most=LATEST_S)


def _heat(score: Any) -> float:  # noqa: ANN401 - the same
    return real(score, least=-LATEST_S, most=LATEST_S)


def _reads(heat: float, now_s: float) -> float:
    return math.exp2(min(60.0, (heat - now_s) / HALF_LIFE_S))
