"""Invalidating a user with 100,000 entries against one with 10: the same few commands."""

from __future__ import annotations

import time

from redis.asyncio import Redis

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench
from jobs.scopes import USER
from stoker import EntryKey, Invalidation, Scope, State, Stoker

IDS = ("invalidate-flat",)
MANY, FEW = 100_000, 10
TIMES = 200
AT_ONCE = 5_000


async def measure(bench: Bench) -> list[Figure]:
    """Both users have valid entries before each invalidation; only the invalidation is timed."""
    many = bench.scale.count(MANY)
    async with bench.stoker() as stoker, Redis.from_url(bench.urls.cache) as redis:
        crowded, plain = USER.scope(1), USER.scope(2)
        await _fill(stoker, redis, crowded, many)
        await _fill(stoker, redis, plain, FEW)
        times = bench.scale.count(TIMES)
        ours, theirs = await alternate(
            bench.scale.blocks,
            lambda: _invalidated(stoker, crowded, times),
            lambda: _invalidated(stoker, plain, times),
        )
    note = f"{many:,} list entries of one user; soft and hard stamps of every view of the user"
    return [Figure("invalidate-flat", f"a user with {FEW}", "us", "<= 1.2", ours, theirs, note)]


async def _fill(stoker: Stoker, redis: Redis, scope: Scope, count: int) -> None:
    """Keep `count` copies of one real entry, under the names of as many parameters."""
    view = stoker.domain.view("list")
    first = view.key(scope)
    await stoker.read("list", scope.id, reader=scope.id)
    assert (await stoker.read("list", scope.id, reader=scope.id)).state is State.HIT
    keys = stoker.cache.store.keys
    stored: bytes | None = await redis.get(keys.entry(first, view.version).entry)
    assert stored is not None
    for start in range(0, count - 1, AT_ONCE):
        names = [
            keys.entry(EntryKey("list", scope, f'{{"offset":{number}}}'), view.version).entry
            for number in range(start, min(start + AT_ONCE, count - 1))
        ]
        await redis.mset(dict.fromkeys(names, stored))


async def _invalidated(stoker: Stoker, scope: Scope, times: int) -> float:
    spent = 0.0
    store = stoker.cache.store
    names = [
        store.keys.entry(stoker.domain.view(name).key(scope, _params(name)))
        for name in stoker.domain.view_names_by_scope[scope.kind]
    ]
    for _ in range(times):
        await store.begin(names)
        started = time.perf_counter()
        await stoker.invalidate_now([Invalidation(scope, hard=True)])
        spent += time.perf_counter() - started
    return spent / times * 1e6


def _params(view: str) -> dict[str, str] | None:
    return {"query": "pump"} if view == "search" else None
