"""A cluster that loses a primary, is cut in two, or moves its slots: reads cost SQL, and nothing is stale."""

from __future__ import annotations

import asyncio

from stoker import State
from stoker.embedded.cluster import Node
from tests.races.world import never
from tests.support.clusters import ClusterWorld, promoted, until
from tests.support.notes import NoteChanged


async def second_note(world: ClusterWorld) -> tuple[int, int]:
    """A note, in the cache, and its only member: both scopes are of other primaries than note 1."""
    other, member = world.elsewhere(), world.elsewhere("reader")
    await world.sql("INSERT INTO notes VALUES (:id, 'v1')", id=other)
    await world.sql("INSERT INTO note_members VALUES (:id, :reader)", id=other, reader=member)
    await world.first.read(other, reader=member)
    return other, member


async def test_a_node_that_is_away_costs_its_slots_sql_and_nothing_else(broken: ClusterWorld) -> None:
    """Row 49."""
    other, member = await second_note(broken)
    await broken.warmed()
    reader = await broken.process(cache={"timeout_s": 0.2})
    frozen = without_failover(broken)
    frozen.pause()
    try:
        assert (await reader.read()).state is State.MISS
        assert (await reader.read(other, reader=member)).state is State.HIT
        assert list(broken.client(reader).away) == [frozen.address]
        assert not reader.stoker.cache.breaker.open
    finally:
        frozen.resume()


async def test_a_change_elsewhere_is_not_kept_waiting_by_a_node_that_is_away(broken: ClusterWorld) -> None:
    """Row 49. Events that concern the node wait for it; its readers read SQL until they are applied."""
    other, member = await second_note(broken)
    worker = await broken.process(cache={"timeout_s": 0.2}, changes={"first_backoff_s": 0.01})
    reader = await broken.warmed(await broken.process(cache={"timeout_s": 0.2}))
    frozen = without_failover(broken)
    frozen.pause()
    try:
        await broken.write("v2")
        elsewhere = await broken.write("v2", other, NoteChanged(note_id=other))
        assert await worker.apply() == 1
        assert await elsewhere.applied() == "applied"
        assert await reader.body(other, member) == "v2"
        assert await reader.body() == "v2"  # it does not answer: SQL
    finally:
        frozen.resume()
    client = broken.client(reader)
    await until(lambda: answers(frozen), "it does not answer")
    await reader.stoker.cache.breaker.check()
    never("the node is used before the event is applied", happened=not client.away)
    assert await reader.body() == "v2"
    await worker.stoker.cache.breaker.check()  # the worker's own breaker counts the same event: it waits, too

    async def applied() -> bool:
        return await worker.apply() == 1

    await until(applied, "the event was not applied")
    await until(lambda: used_again(reader, frozen), "the node is not used again")
    await broken.must_show("v2", reader)
    assert (await reader.read()).state is State.HIT


async def test_a_primary_is_killed_and_its_replica_serves_what_is_right(broken: ClusterWorld) -> None:
    """Rows 8, 45. The replica may have what was unlinked; its run is another one."""
    other, member = await second_note(broken)
    await broken.warmed()
    reader = await broken.process()
    await reader.read()
    dead = broken.owner()
    dead.kill()
    replica = broken.cluster.replica_of(dead)
    await promoted(replica)
    await broken.settled_map(replica, reader)
    await broken.settled_map(replica)
    await broken.change("v2")
    assert await reader.body() == "v2"
    assert (await reader.read()).state is State.HIT
    assert (await reader.read(other, reader=member)).state is State.HIT
    assert await reader.stoker.cache_identity.diverged() is None
    assert not reader.stoker.cache.breaker.open


def without_failover(world: ClusterWorld) -> Node:
    """The primary of note 1. Nobody takes its place, however slow the machine is."""
    for node in world.cluster.nodes:
        node.ask("CONFIG SET cluster-node-timeout 600000")
    return world.owner()


async def answers(node: Node) -> bool:
    return await asyncio.to_thread(node.answers)


async def used_again(reader: object, node: Node) -> bool:
    await reader.stoker.cache.breaker.check()  # type: ignore[attr-defined]
    return node.address not in reader.stoker.cache.store.client.away  # type: ignore[attr-defined]
