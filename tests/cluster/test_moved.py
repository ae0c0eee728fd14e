"""Slots that are moved while they are read and written."""

from __future__ import annotations

from stoker import State
from stoker.embedded.cluster import Node
from tests.support.clusters import ClusterWorld, Move, until


def other_than(world: ClusterWorld, node: Node) -> Node:
    return next(one for one in world.cluster.primaries if one is not node)


async def test_a_read_follows_a_slot_that_was_moved(broken: ClusterWorld) -> None:
    """MOVED once, then by the map; what was cached is built again, because it is of another run."""
    await broken.warmed()
    move = Move(broken, broken.owner(), other_than(broken, broken.owner()))
    await move.whole()
    await broken.sql("UPDATE notes SET body = 'v2'")
    assert await broken.first.body() == "v2"
    assert (await broken.first.read()).state is State.HIT
    await broken.settled_map(move.target)
    await broken.change("v3")
    await broken.must_show("v3")


async def test_a_slot_that_is_being_moved_is_read_and_written(broken: ClusterWorld) -> None:
    """TRYAGAIN and ASK: reads cost SQL, and every unlink is acknowledged."""
    await broken.warmed()
    reader = await broken.warmed(await broken.process())
    move = Move(broken, broken.owner(), other_than(broken, broken.owner()))
    await move.begin()
    await broken.change("v2")
    assert await reader.body() == "v2"
    moved = await move.move_keys(1)
    await broken.change("v3")
    assert await reader.body() == "v3"
    moved += await move.move_keys()
    await broken.change("v4")
    assert await reader.body() == "v4"
    assert moved > 0
    assert not broken.client(reader).away, "only the slot is read from SQL"
    await move.end()
    await until(lambda: _hits(reader), "the slot is not read from the cache again")
    assert await reader.body() == "v4"


async def _hits(reader: object) -> bool:
    return (await reader.read()).state is State.HIT  # type: ignore[attr-defined]
