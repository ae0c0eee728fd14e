"""A world of races whose cache is a cluster. Its nodes are reached directly: no link could follow MOVED."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from stoker.cache.keys import EntryNames
from stoker.embedded.cluster import Cluster, Node
from stoker.redis.cluster import CacheCluster
from stoker.redis.slots import slot_of
from tests.races.world import PATIENCE_S, Process, Urls, World, never
from tests.support.traps import TrappedLink

TIMEOUT_MS = 1000
"""cluster-node-timeout of the tests' clusters."""


@contextmanager
def running_cluster(timeout_ms: int = TIMEOUT_MS) -> Iterator[Cluster]:
    """A cluster of its own; it may be broken in any way."""
    with tempfile.TemporaryDirectory(prefix="cl", dir="/tmp") as folder:
        cluster = Cluster(Path(folder), options=["--enable-debug-command", "local"], timeout_ms=timeout_ms)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


class ClusterWorld(World):
    """Processes on a cluster."""

    def __init__(self, urls: Urls, prefix: str, cluster: Cluster) -> None:
        super().__init__(urls, prefix)
        self.cluster = cluster

    async def _link_to_cache(self) -> TrappedLink:
        return _NoLink(self.urls.cache)

    def owner(self, names: EntryNames | None = None) -> Node:
        """The node that began with the slot of note 1, or of another entry."""
        return self.owner_of((names or self.names()).hard)

    def owner_of(self, key: str) -> Node:
        """The node that began with the slot of a key."""
        return self.cluster.primaries[slot_of(key) * 3 // 16_384]

    def elsewhere(self, kind: str = "note") -> int:
        """The id of a scope that another primary has than note 1."""
        ids = range(2, 100)
        return next(one for one in ids if self.owner(self.names("detail", one, kind)) is not self.owner())

    def client(self, process: Process | None = None) -> CacheCluster:
        """The connections of a process."""
        found = (process or self.first).stoker.cache.store.client
        assert isinstance(found, CacheCluster)
        return found

    async def settled_map(self, owner: Node, process: Process | None = None) -> None:
        """Read until a process asks this node for note 1."""
        client, slot = self.client(process), slot_of(self.names().hard)

        async def there() -> bool:
            await (process or self.first).read()
            node = client._owners[slot]
            return node is not None and node.address == owner.address and node.away is None

        await until(there, f"the process does not ask {owner.name}")


class _NoLink(TrappedLink):
    def __init__(self, url: str) -> None:
        self._to = url

    @property
    def url(self) -> str:
        return self._to

    def mend(self) -> None:
        pass

    def let_go(self) -> None:
        pass

    async def close(self) -> None:
        pass


@asynccontextmanager
async def world_on(cluster: Cluster, urls: Urls, prefix: str) -> AsyncIterator[ClusterWorld]:
    """A world on a cluster, with one process."""
    world = ClusterWorld(urls, prefix, cluster)
    try:
        await world.start()
        yield world
    finally:
        await world.close()


async def until(condition: Any, what: str) -> None:  # noqa: ANN401 - an async function
    """Wait until it holds; a Fault if that takes too long."""
    give_up = asyncio.get_running_loop().time() + PATIENCE_S
    while not await condition():
        never(what, happened=asyncio.get_running_loop().time() > give_up)
        await asyncio.sleep(0.01)


async def promoted(replica: Node) -> None:
    """Wait until a replica serves its primary's slots."""

    async def serves() -> bool:
        said = await asyncio.to_thread(replica.ask, "ROLE", "CLUSTER INFO")
        return "master" in said.partition("cluster_state")[0] and "cluster_state:ok" in said

    await until(serves, f"{replica.name} was not promoted")


class Move:
    """The slot of note 1, from the primary that has it to another one, a step at a time."""

    def __init__(self, world: ClusterWorld, source: Node, target: Node) -> None:
        self.source, self.target = source, target
        self.slot = slot_of(world.names().hard)
        self._primaries = world.cluster.primaries

    async def whole(self) -> None:
        """All of it."""
        await self.begin()
        await self.move_keys()
        await self.end()

    async def begin(self) -> None:
        """From now on keys may be moved."""
        await self._ask(self.target, f"CLUSTER SETSLOT {self.slot} IMPORTING {self.source.id}")
        await self._ask(self.source, f"CLUSTER SETSLOT {self.slot} MIGRATING {self.target.id}")

    async def move_keys(self, most: int = 1000) -> int:
        """Move keys; returns how many."""
        password = self.source.password
        async with Redis.from_url(self.source.url) as redis:
            keys: Any = await redis.execute_command("CLUSTER GETKEYSINSLOT", self.slot, most)
            for key in keys:
                await redis.execute_command(
                    *("MIGRATE", "127.0.0.1", self.target.port, key, 0, 5000, "AUTH", password)
                )
        return len(keys)

    async def end(self) -> None:
        """The slot is the target's, as all primaries know."""
        others = [one for one in self._primaries if one not in {self.source, self.target}]
        for node in (self.target, self.source, *others):
            await self._ask(node, f"CLUSTER SETSLOT {self.slot} NODE {self.target.id}")

    async def _ask(self, node: Node, command: str) -> None:
        said = await asyncio.to_thread(node.ask, command)
        assert "+OK" in said, said
