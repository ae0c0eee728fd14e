"""The cache on a cluster that is whole: what a single server does, it does."""

from __future__ import annotations

from stoker import Asked, State
from stoker.cache.accounting import read_counters
from stoker.cache.reads import hottest
from stoker.history.memory import cache_memory
from stoker.redis.memory import QUESTION, memory_of
from tests.support.clusters import ClusterWorld

NOTES = 30


async def notes(world: ClusterWorld) -> list[int]:
    ids = list(range(2, NOTES + 2))
    for one in ids:
        await world.sql("INSERT INTO notes VALUES (:id, 'v1')", id=one)
        await world.sql("INSERT INTO note_members VALUES (:id, 1)", id=one)
    return ids


async def test_a_change_is_not_missed_on_any_node(world: ClusterWorld) -> None:
    for one in (1, world.elsewhere()):
        if one != 1:
            await world.sql("INSERT INTO notes VALUES (:id, 'v1')", id=one)
            await world.sql("INSERT INTO note_members VALUES (:id, 1)", id=one)
        await world.first.read(one)
        assert (await world.first.read(one)).state is State.HIT
        await world.change("v2", one)
        assert await world.first.body(one) == "v2"
        assert (await world.first.read(one)).state is State.HIT


async def test_many_entries_are_read_from_all_nodes(world: ClusterWorld) -> None:
    ids = await notes(world)
    asked = [Asked("detail", one) for one in ids]
    reader = world.first.stoker
    first = await reader.read_many(asked, reader=1)
    assert [one.state for one in first] == [State.MISS] * NOTES  # type: ignore[union-attr]
    again = await (await world.process()).stoker.read_many(asked, reader=1)
    assert [one.state for one in again] == [State.HIT] * NOTES  # type: ignore[union-attr]
    assert len({world.owner(world.names(note_id=one)) for one in ids}) == 3


async def test_figures_and_marks_are_kept_on_a_cluster(world: ClusterWorld) -> None:
    await world.warmed()
    stoker = world.first.stoker
    store = stoker.cache.store
    await stoker.accounting.flush(store.client, store.keys)
    counted = await read_counters(store.client, store.keys, ["detail", "access"])
    assert counted["detail"]["hits"] == 1
    assert "detail" in {key.view for key, _ in await hottest(store.client, store.keys, 10)}


async def test_the_memory_of_all_nodes_is_added_up(world: ClusterWorld) -> None:
    client = world.first.stoker.cache.store.client
    nodes = [memory_of((await node.call(QUESTION)).first()) for node in await client.primaries()]
    found = await cache_memory(world.first.stoker)
    assert len(nodes) == 3
    assert found.used_bytes > max(node.used_bytes for node in nodes) * 2
