"""A cluster that loses a primary, is cut in two, or moves its slots: reads cost SQL, and nothing is stale."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial

from stoker import Receipt, State
from stoker.embedded.cluster import Node
from stoker.embedded.process import wait_until
from stoker.errors import CacheUnavailable
from stoker.operations.overview import overview
from stoker.redis.primary import SURE_S
from tests.cluster.test_nodes import Reader
from tests.races.world import Process, never
from tests.support.clusters import TIMEOUT_MS, ClusterWorld, promoted, until


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


async def test_a_node_that_is_away_is_told_by_name_in_status(broken: ClusterWorld) -> None:
    reader = await broken.warmed(await broken.process(cache={"timeout_s": 0.2}))
    frozen = without_failover(broken)
    frozen.pause()
    try:
        await reader.read()
        found = await overview(reader.stoker, 5)
    finally:
        frozen.resume()
    nodes = {one.address: one for one in found.health.servers["cache"].nodes}
    assert [one.address for one in nodes.values() if one.error] == [frozen.address]
    assert sum(one.slots for one in nodes.values()) == 16_384
    assert any(f"node {frozen.address} of the cache Redis is away" in one.says for one in found.concerns)


async def test_a_primary_that_is_cut_off_is_read_no_longer_than_its_node_timeout(
    broken: ClusterWorld,
) -> None:
    """Row 45. It hears of no other node, and its replica has taken over: it closes by itself."""
    await broken.warmed()
    web = await broken.warmed(await broken.process())
    old = broken.owner()
    replica = broken.cluster.replica_of(old)
    old.ask("DEBUG DROP-CLUSTER-PACKET-FILTER -2")
    replica.ask("CLUSTER FAILOVER TAKEOVER")
    worker = await broken.process()
    await promoted(replica)
    await broken.settled_map(replica, worker)
    await broken.write("v2")
    assert await worker.apply() == 1
    applied_s = time.monotonic()

    async def shows() -> bool:
        return await web.body() == "v2"

    await until(shows, "the primary that was cut off is read for ever")
    # Its own timeout, the second for which its word that it is a primary counts, and a slow machine.
    assert time.monotonic() - applied_s < TIMEOUT_MS / 1000 + SURE_S + 5
    await broken.must_show("v2", web)


async def test_nothing_is_stale_or_fails_under_load_while_a_primary_is_killed(broken: ClusterWorld) -> None:
    """Rows 8, 49. Three processes read and one writes; a third of the notes lose their node."""
    ids = range(2, 14)
    for one in ids:
        await broken.sql("INSERT INTO notes VALUES (:id, '0')", id=one)
        await broken.sql("INSERT INTO note_members VALUES (:id, 1)", id=one)
    worker = await broken.process(cache={"timeout_s": 1}, changes={"first_backoff_s": 0.05})
    readers = [await broken.process(cache={"timeout_s": 1}) for _ in range(3)]
    applied = dict.fromkeys(ids, 0)
    stale: list[str] = []
    stop = asyncio.Event()

    async def read(process: Process) -> None:
        while not stop.is_set():
            for one in ids:
                least = applied[one]
                shown = int(await process.body(one))
                if shown < least:
                    stale.append(f"{one}: {shown} after {least}")
                await asyncio.sleep(0.002)

    async def settled(receipt: Receipt) -> bool:
        await used_again(worker)
        with suppress(CacheUnavailable):
            await worker.apply()
        return await receipt.applied(timedelta(0)) == "applied"

    reading = [asyncio.create_task(read(one)) for one in readers]
    dead = broken.owner(broken.names(note_id=2))
    for number in range(1, 7):
        if number == 2:
            dead.kill()
        for one in ids:
            receipt = await broken.write(str(number), one)
            await until(partial(settled, receipt), "a change was not applied")
            applied[one] = number
    stop.set()
    await asyncio.gather(*reading)
    never(f"stale: {stale[:5]}", happened=bool(stale))
    assert not any(one.stoker.cache.breaker.open for one in readers)


async def test_nothing_is_stale_while_replicas_take_over_on_command(broken: ClusterWorld) -> None:
    """Row 8. There and back: what the first node had is not valid again."""
    await broken.warmed()
    reader = Reader(await broken.warmed(await broken.process()))
    reading = broken.begin(reader.read())
    first = broken.owner()
    for node in (broken.cluster.replica_of(first), first):
        while not await asyncio.to_thread(takes_over, node):
            pass
        await broken.settled_map(node, reader.process)
        await broken.settled_map(node)
        await reader.change(broken)
    assert not reading.done(), "it reads to the end"


def takes_over(node: Node) -> bool:
    """Ask a replica to; false where its primary could not be brought to wait within five seconds."""
    node.ask("CLUSTER FAILOVER")
    return wait_until(node.leads, 6)


async def used_again(process: Process) -> None:
    """What the loop of its breaker does every second."""
    await process.stoker.cache.breaker.check()
