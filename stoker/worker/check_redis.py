"""What is wrong with the Redis servers: a role's own, the primary behind Sentinels, a cluster's nodes.

`stoker check` asks. Nothing is written.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from stoker.redis.errors import RedisAway
from stoker.redis.pool import close_client, queue_client
from stoker.redis.primary import CLUSTERED, SENTINEL, SINGLE
from stoker.redis.queue import NODE
from stoker.redis.sentinel import NO_SENTINEL
from stoker.redis.slots import SLOTS, SlotMap, learn
from stoker.settings import Settings, address_of
from stoker.settings.topology import is_cluster, nodes
from stoker.worker.findings import Finding, Level, error, outage, warning

PATIENCE_S = 5.0
"""Seconds that a server may take to answer."""
OLDEST_REDIS = {"queue": (7, 0), "cache": (6, 2)}
"""By role. The queue's scripts declare a flag (run while memory is full) that older servers do not know."""
NEARLY_FULL = 0.95
"""Share of a cache's memory above which it evicts what is not read often."""

Told = Mapping[str, Any]
"""Fields of INFO."""


async def redis_findings(settings: Settings, role: str) -> list[Finding]:
    """What is wrong with the servers of a role: `queue` or `cache`."""
    url = settings.redis_url if role == "queue" else settings.cache_redis_url
    if url is None:
        return []
    where, name = url.get_secret_value(), f"the {role} Redis"
    try:
        if is_cluster(where):
            return await _cluster(where)
        told = await _information(where, name)
        return [*_any_redis(role, told), *(_queue(settings, told) if role == "queue" else _cache(told))]
    except RedisAway as problem:
        return [_refused(str(problem))]
    except (RedisError, OSError, TimeoutError) as problem:
        said = str(problem) or type(problem).__name__
        return [_refused(said if said.startswith(name) else f"{name} does not answer: {said}")]


async def _cluster(url: str) -> list[Finding]:
    found = await learn(nodes(url), "the cache Redis", PATIENCE_S)
    primaries = sorted({one for one in found.urls if one})
    told = await asyncio.gather(
        *(_information(one, "the cache Redis") for one in primaries), return_exceptions=True
    )
    by_node = dict(zip(map(address_of, primaries), told, strict=True))
    findings = [*_slots(found), *_versions(by_node)]
    for node, one in by_node.items():
        if isinstance(one, Exception):
            findings.append(outage(f"node {node} of the cache Redis is away: {one or type(one).__name__}"))
        elif not isinstance(one, BaseException):
            wrong = [*_any_redis("cache", one, in_cluster=True), *_cache(one)]
            findings += [Finding(each.level, f"node {node}: {each.message}") for each in wrong]
    return findings


def _slots(found: SlotMap) -> Iterator[Finding]:
    if found.uncovered:
        yield outage(
            f"the cache Redis: no node serves {found.uncovered} of {SLOTS} slots; SQL answers what has them: "
            "start their nodes again, or give the slots to others (redis-cli --cluster fix)"
        )
    elif not found.in_order:
        yield outage("the cache Redis: its cluster is not in order (CLUSTER INFO says cluster_state:fail)")


def _versions(by_node: Mapping[str, Any]) -> Iterator[Finding]:
    versions: dict[str, list[str]] = defaultdict(list)
    for node, told in by_node.items():
        if isinstance(told, dict):
            versions[_version(told)].append(node)
    if len(versions) > 1:
        each = "; ".join(f"{version} on {', '.join(those)}" for version, those in sorted(versions.items()))
        yield warning(f"the nodes of the cache Redis run different versions: {each}; finish the upgrade")


async def _information(url: str, name: str) -> Told:
    """All fields of INFO, of the primary behind a URL. `name`: of the server, in errors."""
    async with asyncio.timeout(PATIENCE_S):
        async with _client(url, name) as redis:
            told: dict[str, Any] = {**await redis.info("everything"), **await redis.info("memory")}
            return told


@asynccontextmanager
async def _client(url: str, name: str) -> AsyncIterator[Redis]:
    redis = queue_client(url, connections=1, wait_s=PATIENCE_S, name=name)
    try:
        yield redis
    finally:
        await close_client(redis)


def _any_redis(role: str, told: Told, *, in_cluster: bool = False) -> Iterator[Finding]:
    shown = str(told.get("redis_version", "0"))
    version = tuple(int(part) for part in shown.split(".")[:2])
    if version < (oldest := OLDEST_REDIS[role]):
        needed = ".".join(map(str, oldest))
        yield error(f"the {role} Redis is {shown}: {needed} or newer is needed")
    mode = told.get("server_mode", told.get("redis_mode", "standalone"))  # Valkey's name, and Redis'
    if mode == "sentinel":
        yield error(f"the {role} Redis {SENTINEL}")
    elif mode == "cluster" and role == "queue":
        yield error(f"the queue Redis {NODE}")
    elif mode == "cluster" and not in_cluster:
        yield error(f"the cache Redis {CLUSTERED}")
    if told.get("role") == "slave":
        yield error(f"the {role} Redis is a replica: name the primary")


def _queue(settings: Settings, told: Told) -> Iterator[Finding]:
    policy = told.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        level = Level.WARNING if settings.queue.allow_eviction else Level.ERROR
        yield Finding(
            level, f"the queue Redis has maxmemory-policy {policy}: it may evict jobs; set it to noeviction"
        )
    if not told.get("aof_enabled"):
        yield warning(
            "the queue Redis has no append-only file: a restart loses waiting jobs (recorded events are safe)"
        )


def _cache(told: Told) -> Iterator[Finding]:
    limit, used, policy = told.get("maxmemory"), told.get("used_memory", 0), told.get("maxmemory_policy")
    if not limit:
        yield warning("the cache Redis has no maxmemory: it grows until the machine's memory is full")
    elif policy == "noeviction":
        yield warning("the cache Redis never evicts: once full it stores nothing new; allkeys-lfu is better")
    if limit and used >= limit * NEARLY_FULL and (evicted := told.get("evicted_keys", 0)):
        yield warning(
            f"the cache Redis uses {used / limit:.0%} of its {limit / 1024**2:,.0f} MiB of maxmemory and has "
            f"evicted {evicted:,} keys since it was started ({policy}): what is read may not fit"
        )


def _version(told: Told) -> str:
    return str(told.get("valkey_version", told.get("redis_version", "unknown")))


def _refused(message: str) -> Finding:
    """A server that cannot be used. A wrong URL stays wrong; everything else may end by itself."""
    lasting = any(one in message for one in (SINGLE, CLUSTERED, NO_SENTINEL, "know no master"))
    return error(message) if lasting else outage(message)
