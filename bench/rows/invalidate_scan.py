"""Invalidating a user among a million keys: ours, SCAN and delete as the earlier layer did, cashews' tags."""

from __future__ import annotations

import time
from functools import partial

from redis.asyncio import Redis

from bench.blocks import alternate
from bench.figures import Figure
from bench.ground import Bench
from bench.peer import Peer, running
from bench.peers.earlier_layer import SCAN_COUNT, drop, user_key
from jobs.scopes import USER
from stoker import EntryKey, Invalidation, Stoker

IDS = ("invalidate-scan", "invalidate-scan-cashews")
KEYS, ENTRIES = 1_000_000, 100
"""Keys of other users on the server; entries of the one user who is invalidated."""
SERVER_MB = 4096
AT_ONCE = 10_000
TIMES = 50
"""Invalidations of one of the quick sides' blocks."""
USER_ID = 1
BODY = b'{"items":[],"total":0,"limit":20,"offset":0}'


async def measure(bench: Bench) -> list[Figure]:
    """The same number of entries of one user, kept by each in its own way; only the invalidation is timed."""
    others = bench.scale.count(KEYS)
    times = bench.scale.count(TIMES)
    with bench.large_cache(SERVER_MB) as large:
        async with (
            large.stoker() as stoker,
            Redis.from_url(large.urls.cache) as redis,
            running("tags", large.urls.cache) as cashews,
        ):
            await _fill(redis, others)
            await cashews.ask("open")
            ours, scan, tags = await alternate(
                bench.scale.blocks,
                partial(_ours, stoker, redis, times),
                partial(_scan, redis),
                partial(_tags, cashews, times),
            )
    note = f"a user with {ENTRIES} list entries among {others:,} keys"
    return [
        Figure(
            *("invalidate-scan", "SCAN and delete", "ms", "", ours, scan),
            f"{note}; SCAN with COUNT {SCAN_COUNT}, redis-py's default takes many times as long",
        ),
        Figure(
            *("invalidate-scan-cashews", "cashews, delete_tags", "ms", "", ours, tags),
            f"{note}; what its set of keys costs at every write is not counted",
        ),
    ]


async def _fill(redis: Redis, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        names = (
            user_key(number // ENTRIES + 2, f"list:{number}") for number in range(start, start + AT_ONCE)
        )
        await redis.mset(dict.fromkeys(names, BODY))


async def _ours(stoker: Stoker, redis: Redis, times: int) -> float:
    scope, view = USER.scope(USER_ID), stoker.domain.view("list")
    store = stoker.cache.store
    names = [
        store.keys.entry(EntryKey("list", scope, f'{{"offset":{number}}}'), view.version)
        for number in range(ENTRIES)
    ]
    spent = 0.0
    for _ in range(times):
        await redis.mset({name.entry: BODY for name in names})
        await store.begin(names[:1])  # all of them share the stamps of the user's lists
        assert await redis.exists(names[0].stamp, names[0].hard) == 2
        started = time.perf_counter()
        await stoker.invalidate_now([Invalidation(scope, hard=True)])
        spent += time.perf_counter() - started
        assert await redis.exists(names[0].stamp, names[0].hard) == 0
    return spent / times * 1e3


async def _scan(redis: Redis) -> float:
    await redis.mset({user_key(USER_ID, f"list:{number}"): BODY for number in range(ENTRIES)})
    started = time.perf_counter()
    found = await drop(redis, user_key(USER_ID, "*"))
    took = time.perf_counter() - started
    assert found == ENTRIES, f"SCAN found {found} entries"
    return took * 1e3


async def _tags(cashews: Peer, times: int) -> float:
    keys, tag = [f"cashews:list:{number}" for number in range(ENTRIES)], f"user:{USER_ID}"
    spent = 0.0
    for _ in range(max(1, times // 10)):  # it writes its entries one by one
        await cashews.ask("keep", keys=keys, value=BODY.decode(), tag=tag)
        spent += float(await cashews.ask("drop", keys=keys, tag=tag))
    return spent / max(1, times // 10) * 1e3
