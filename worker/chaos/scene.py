"""What faults, traffic and checks work on: the stage, the processes on it, and what is known of both."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.chaos.audit import Ledger
from worker.chaos.slots import Slot
from worker.chaos.stage import Stage
from worker.chaos.tally import Tally
from worker.chaos.traffic import Traffic

NO_TTL = -1


@dataclass
class Scene:
    """One run."""

    stage: Stage
    sql: AsyncEngine
    rng: Random
    workers: list[Slot]
    webapps: list[Slot]
    ledger: Ledger
    tally: Tally
    traffic: Traffic
    poisoned_scope: str
    """The scope, as `kind:id`, that poison events name."""
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Of the servers and the outbox; a process has its slot's."""

    @property
    def slots(self) -> list[Slot]:
        """All processes."""
        return [*self.workers, *self.webapps]

    def a_webapp(self) -> Slot:
        """Any web app."""
        return self.rng.choice(self.webapps)

    async def cache_keys(self) -> list[str]:
        """Every key of the cache Redis."""
        return await _keys(self.stage.servers.urls.cache)

    async def keys_without_ttl(self, url: str) -> list[str]:
        """Keys of a Redis that never expire."""
        keys = await _keys(url)
        async with Redis.from_url(url) as redis:
            pipe = redis.pipeline(transaction=False)
            for key in keys:
                pipe.pttl(key)
            lives = await pipe.execute()
        return [key for key, life in zip(keys, lives, strict=True) if life == NO_TTL]


async def _keys(url: str) -> list[str]:
    async with Redis.from_url(url) as redis:
        return [key.decode(errors="replace") async for key in redis.scan_iter(count=1000)]
