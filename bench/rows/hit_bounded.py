"""Bounded staleness: a hit that asks nobody, against a bare GET of the same bytes."""

from __future__ import annotations

from redis.asyncio import Redis

from bench.blocks import alternate, rate
from bench.figures import Figure
from bench.ground import Bench
from stoker import State

IDS = ("hit-bounded",)
USERS = 16
UNASKED_MS = 1_000
BLOCK_S = 0.5
NOTE = "lists of 16 users with cache.near_unasked_ms of a second, which is off by default; one reader"


async def measure(bench: Bench) -> list[Figure]:
    """Lists, because no access entry guards them: rights are always asked for."""
    async with bench.stoker(near_unasked_ms=UNASKED_MS) as stoker, Redis.from_url(bench.urls.cache) as redis:
        for user in range(1, USERS + 1):
            await redis.set(f"plain:list:{user}", (await stoker.read("list", user, reader=user)).body)
            assert (await stoker.read("list", user, reader=user)).state is State.HIT

        async def read(number: int) -> bytes:
            user = number % USERS + 1
            return (await stoker.read("list", user, reader=user)).body

        async def get(number: int) -> object:
            return await redis.get(f"plain:list:{number % USERS + 1}")

        seconds = bench.scale.seconds(BLOCK_S)
        ours, theirs = await alternate(
            bench.scale.blocks, lambda: rate(seconds, read), lambda: rate(seconds, get)
        )
    return [Figure("hit-bounded", "redis-py GET of the same bytes", "reads/s", "", ours, theirs, NOTE)]
