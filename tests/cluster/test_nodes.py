"""A node joins a cluster and leaves it while entries are read and changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stoker import State
from stoker.embedded.cluster import Cluster, Node
from stoker.embedded.listening import free_ports
from tests.races.world import Process, never
from tests.support.clusters import TIMEOUT_MS, ClusterWorld, Move, until


class Reader:
    """Reads note 1 again and again; nothing may be older than what was applied before the read."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.reads = 0
        self.applied = 1

    async def read(self) -> None:
        """Until it is cancelled."""
        while True:
            least = self.applied
            shown = int((await self.process.body()).removeprefix("v"))
            never(f"v{shown} was read after v{least} was applied", happened=shown < least)
            self.reads += 1
            await asyncio.sleep(0.001)

    async def change(self, world: ClusterWorld) -> None:
        """Change the note, and see that it is read again after that, and is a hit."""
        await world.change(f"v{self.applied + 1}")
        self.applied += 1
        before = self.reads

        async def hit() -> bool:
            return self.reads > before and (await self.process.read()).state is State.HIT

        await until(hit, "the note is not read from the cache again")


async def test_a_node_is_added_and_removed_under_reads(broken: ClusterWorld, tmp_path: Path) -> None:
    await broken.warmed()
    reader = Reader(await broken.warmed(await broken.process()))
    reading = broken.begin(reader.read())
    source, added = broken.owner(), joining(broken.cluster, tmp_path)
    try:
        await join(broken.cluster, added)
        await Move(broken, source, added).whole()
        await broken.settled_map(added, reader.process)
        await broken.settled_map(added)
        await reader.change(broken)
        await Move(broken, added, source).whole()
        for node in broken.cluster.nodes:
            await asyncio.to_thread(node.ask, f"CLUSTER FORGET {added.id}")
    finally:
        added.kill()
    await broken.settled_map(source, reader.process)
    await broken.settled_map(source)
    await reader.change(broken)
    addresses = {address for address, _, _ in broken.client(reader.process).standing()}
    assert addresses == {node.address for node in broken.cluster.primaries}
    assert not reading.done(), "it reads to the end"


def joining(cluster: Cluster, folder: Path) -> Node:
    """A node that knows no other yet."""
    more = ["--cluster-node-timeout", str(TIMEOUT_MS)]
    first, second = free_ports(2)
    return Node("added", folder, folder / "added.log", (first, second), cluster.password, more)


async def join(cluster: Cluster, node: Node) -> None:
    """Returns when every node knows it."""
    await asyncio.to_thread(node.start)
    node.id = (await asyncio.to_thread(node.ask, "CLUSTER MYID")).split()[1]
    for one in cluster.nodes:
        await asyncio.to_thread(node.ask, f"CLUSTER MEET 127.0.0.1 {one.port} {one.bus_port}")
    everybody = [*cluster.nodes, node]

    async def known() -> bool:
        return await asyncio.to_thread(lambda: all(one.is_in_order(len(everybody)) for one in everybody))

    await until(known, "the nodes do not know the one that was added")
