"""At rest: every key has a TTL, except the queue's keys that are declared to stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from stoker.chaos.words import first
from stoker.console.sessions import console_key_name
from stoker.embedded import Urls
from stoker.jobs import LANES, Lane
from stoker.queue.life import life_name
from stoker.queue.owner import owner_name
from stoker.queue.wire import concurrency_name, queue_name
from stoker.redis.slots import learn
from stoker.settings import QueueSettings
from stoker.settings.topology import is_cluster, nodes

NO_TTL = -1
LIMIT_S = 10.0
"""For the nodes of a cluster to say who they are."""
OF_A_LANE = ("", ":running", ":parked", ":totals", ":bell", ":paused")
OF_THE_AUDIT = ("born", "ended", "rescues")


@dataclass(frozen=True)
class Staying:
    """Keys without a TTL: the declared ones that were found, and a complaint about any others."""

    declared: list[str]
    wrong: list[str]


def declared(prefix: str, of: Sequence[Lane] = LANES) -> frozenset[str]:
    """Keys of the queue that stay; the cache has none."""
    settings = QueueSettings(prefix=prefix)
    lanes = (f"{queue_name(settings, lane)}{part}" for lane in of for part in OF_A_LANE)
    return frozenset(
        [
            *lanes,
            concurrency_name(settings),
            owner_name(settings),
            life_name(settings),
            console_key_name(settings),
            *(f"{prefix}:chaos:{one}" for one in OF_THE_AUDIT),
        ]
    )


async def without_ttl(urls: Urls, prefix: str, lanes: Sequence[Lane] = LANES) -> Staying:
    """Check every key of both Redis servers."""
    allowed = declared(prefix, lanes)
    queue, cache = await _staying(urls.queue), await _staying(urls.cache)
    stay = sorted([*(queue - allowed), *cache])
    wrong = [f"{len(stay)} keys have no TTL: {first(stay)}"] if stay else []
    return Staying(sorted(queue & allowed), wrong)


async def names(url: str) -> list[str]:
    """Every key of a Redis, or of all primaries of a cluster."""
    found = []
    for one in await _primaries(url):
        async with Redis.from_url(one) as redis:
            found += [key.decode(errors="replace") async for key in redis.scan_iter(count=1000)]
    return found


async def _primaries(url: str) -> Sequence[str]:
    if not is_cluster(url):
        return [url]
    return sorted({one for one in (await learn(nodes(url), "the cache Redis", LIMIT_S)).urls if one})


async def _staying(url: str) -> set[str]:
    staying = set()
    for one in await _primaries(url):
        found = await names(one)
        async with Redis.from_url(one) as redis:
            pipe = redis.pipeline(transaction=False)
            for key in found:
                pipe.pttl(key)
            lives = await pipe.execute()
        staying |= {key for key, life in zip(found, lives, strict=True) if life == NO_TTL}
    return staying
