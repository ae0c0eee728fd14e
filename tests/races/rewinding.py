"""A world on a cache of its own, which can be taken back to an earlier time, and be demoted and promoted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from stoker.embedded.valkey import Valkey
from tests.races.world import World


@dataclass
class Rewinding:
    """A world whose cache can be taken back to an earlier time."""

    world: World
    server: Valkey
    _held: dict[bytes, bytes] = field(default_factory=dict)

    async def remember(self) -> None:
        """Save what the server holds."""
        await self.world.redis.save()

    async def go_back(self) -> None:
        """Kill the server; it comes back with what it saved."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)

    async def fall_behind(self) -> None:
        """Make another server a replica of this one, then stop its replication."""
        redis = self.world.redis
        self._held = {key: await redis.dump(key) for key in await redis.keys("*")}

    async def demote(self) -> None:
        """Make the server a replica of a closed port; clients stay, as REPLICAOF leaves them."""
        await self.world.redis.slaveof("127.0.0.1", 1)

    async def fail_back(self) -> None:
        """Promote the server again, after it took over what the other one held."""
        redis = self.world.redis
        await redis.slaveof()
        await redis.flushdb()
        for key, value in self._held.items():
            await redis.restore(key, 600_000, value)
