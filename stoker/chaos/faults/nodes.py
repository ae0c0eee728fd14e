"""Faults of one node of a cluster. Afterwards every slot is served, and every replica is in step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from stoker.chaos.faults.servers import down, frozen
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot
from stoker.embedded.cluster import NODE_TIMEOUT_MS, Cluster, Node
from stoker.embedded.process import EmbeddedError, wait_until

HEALED_WITHIN_S = 30.0
NEVER_MS = 600_000
"""A node timeout with which nobody takes the place of a node that does not answer."""


async def kill(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL of a primary. Its replica takes over, unless it is back before; its data is gone (RACES 8)."""
    async with _healing(scene.servers.cluster) as primaries:
        await down(scene.rng.choice(primaries), lasts_s)


async def freeze(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGSTOP of a primary; nobody takes its place, and then it answers what waits (RACES 49).

    One whose place is taken meanwhile may be read for some time after it wakes: docs/decisions/0026.
    """
    cluster = scene.servers.cluster
    async with _healing(cluster) as primaries:
        await _set_timeout(cluster, NEVER_MS)
        try:
            await frozen(scene.rng.choice(primaries), lasts_s)
        finally:
            await _set_timeout(cluster, NODE_TIMEOUT_MS)


async def fail_over(scene: Scene, _slot: Slot | None, _lasts_s: float) -> None:
    """A replica takes over from its primary, as an operator asks it to before maintenance."""
    cluster = scene.servers.cluster
    async with _healing(cluster) as primaries:
        replica = scene.rng.choice([node for node in cluster.nodes if node not in primaries])
        await asyncio.to_thread(replica.ask, "CLUSTER FAILOVER")
        await _until(lambda: _leads(replica), f"{replica.name} did not take over")


@asynccontextmanager
async def _healing(cluster: Cluster) -> AsyncIterator[Sequence[Node]]:
    """The primaries of now; at the end the cluster is in order again."""
    leading = await asyncio.gather(*(asyncio.to_thread(_leads, node) for node in cluster.nodes))
    try:
        yield [node for node, leads in zip(cluster.nodes, leading, strict=True) if leads]
    finally:
        await _until(lambda: _is_whole(cluster), "the cluster did not heal")


async def _until(holds: Callable[[], bool], otherwise: str) -> None:
    """Wait for it; raises EmbeddedError where it takes too long."""
    if not await asyncio.to_thread(wait_until, holds, HEALED_WITHIN_S):
        raise EmbeddedError(otherwise)


async def _set_timeout(cluster: Cluster, timeout_ms: int) -> None:
    command = f"CONFIG SET cluster-node-timeout {timeout_ms}"
    await asyncio.gather(*(asyncio.to_thread(node.ask, command) for node in cluster.nodes))


def _is_whole(cluster: Cluster) -> bool:
    return all(node.is_in_order(len(cluster.nodes)) for node in cluster.nodes)


def _leads(node: Node) -> bool:
    return "role:master" in node.ask("INFO replication")
