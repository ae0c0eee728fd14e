"""What the worker does on a cluster: it warms, verifies and invalidates every scope, on all nodes."""

from __future__ import annotations

from stoker import State
from stoker.handlers.verify import verify_entries
from stoker.jobs import Warm
from tests.cluster.test_whole import NOTES, notes
from tests.support.clusters import ClusterWorld
from tests.support.notes import EVERY_SCOPE_CHANGED


async def states(world: ClusterWorld, ids: list[int]) -> list[State]:
    """How another process, which keeps nothing near, is answered."""
    reader = await world.process()
    return [(await reader.read(one)).state for one in ids]


async def test_a_warming_fills_all_nodes(world: ClusterWorld) -> None:
    ids = await notes(world)
    assert len({world.owner(world.names(note_id=one)) for one in ids}) == 3
    await world.first.task(Warm(target="active"))
    assert [await world.kept(note_id=one) for one in ids] == [b'{"body":"v1"}'] * NOTES


async def test_what_differs_from_sql_is_found_on_each_node(world: ClusterWorld) -> None:
    ids = await notes(world)
    for one in ids:
        await world.first.read(one)
    store = world.first.stoker.cache.store
    await world.first.stoker.accounting.flush(store.client, store.keys)
    changed = {world.owner(world.names(note_id=one)).name: one for one in ids}
    assert len(changed) == 3
    for one in changed.values():
        await world.sql("UPDATE notes SET body = 'unseen' WHERE id = :id", id=one)
    found = await verify_entries(world.first.stoker, 10 * NOTES)
    assert {int(key.scope.id) for key in found.stale if key.view == "detail"} == set(changed.values())
    assert [await world.first.body(one) for one in changed.values()] == ["unseen"] * 3


async def test_every_scope_is_invalidated_on_all_nodes(world: ClusterWorld) -> None:
    ids = await notes(world)
    await states(world, ids)
    assert await states(world, ids) == [State.HIT] * NOTES
    await world.sql("UPDATE notes SET body = 'v2'")
    await world.sql(EVERY_SCOPE_CHANGED)
    assert await world.first.apply() == 1
    reader = await world.process()
    assert [await reader.body(one) for one in ids] == ["v2"] * NOTES
