"""The cache on a cluster: a node that is away, a stamp that comes home, a right on another node."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from stoker import Asked, Forbidden, NotFound, Reading
from stoker.embedded.cluster import Cluster, Node
from stoker.errors import CacheUnavailable
from stoker.redis.slots import slot_of
from tests.races.race import race
from tests.races.test_within import apply, desk, is_not_shown, remove
from tests.races.world import PATIENCE_S, Process, Urls, never
from tests.support.clusters import ClusterWorld, Move, running_cluster, until, world_on
from tests.support.folders import FOLDER, SHEET, Folders, SheetChanged
from tests.support.notes import NoteChanged
from tests.support.traps import Held


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """For all of these races: each leaves it in order. No replica takes over, however slow the machine is."""
    with running_cluster(timeout_ms=600_000) as cluster:
        yield cluster


@pytest.fixture
async def world(
    guard: str | None,  # noqa: ARG001 - order
    cluster: Cluster,
    urls: Urls,
    prefix: str,
) -> AsyncIterator[ClusterWorld]:
    """A world on the cluster."""
    async with world_on(cluster, replace(urls, cache=cluster.url), prefix) as world:
        yield world


@race("the epoch in the run")
async def test_a_stamp_that_was_moved_away_and_home_is_not_believed_again(world: ClusterWorld) -> None:
    """Row 48. Its unlink was lost on the node that it was on: a replica that was behind took over there."""
    await world.warmed()
    home = world.owner()
    away = next(one for one in world.cluster.primaries if one is not home)
    there, back = Move(world, home, away), Move(world, away, home)
    await there.whole()
    before = await held_by(away, there.slot)
    await world.change("v2")
    await restore(away, before)
    await back.whole()
    shown = await (await world.process()).body()
    never(f"after v2 was applied it showed {shown}", happened=shown != "v2")


@race("nodes doubted when the map changes")
async def test_a_stamp_that_came_home_is_not_believed_by_a_process_that_learns_of_the_move(
    world: ClusterWorld,
) -> None:
    """Row 48. It has heard from the node just now, so it would not ask for the epoch again yet."""
    reader = await world.warmed(await world.process())
    home = world.owner()
    away = next(one for one in world.cluster.primaries if one is not home)
    there, back = Move(world, home, away), Move(world, away, home)
    await there.whole()
    before = await held_by(away, there.slot)
    client = world.client(reader)
    await client._primaries.learn()
    await world.change("v2")
    await restore(away, before)
    await back.whole()
    for connection in client.clients()[home.address]._open:
        connection.confirmed_s = time.monotonic() + PATIENCE_S
    await client._primaries.learn()
    shown = await reader.body()
    never(f"after v2 was applied it showed {shown}", happened=shown != "v2")


async def held_by(node: Node, slot: int) -> dict[bytes, bytes]:
    """What a node has of a slot, as RESTORE takes it."""
    async with Redis.from_url(node.url) as redis:
        keys: Any = await redis.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
        return {key: await redis.dump(key) for key in keys}


async def restore(node: Node, held: dict[bytes, bytes]) -> None:
    async with Redis.from_url(node.url) as redis:
        for key, value in held.items():
            await redis.restore(key, 60_000, value, replace=True)


async def two_notes(world: ClusterWorld) -> tuple[Process, Process, int, int]:
    """A worker, a reader, and a second note with its member: neither is on the node of note 1."""
    other, member = world.elsewhere(), world.elsewhere("reader")
    await world.sql("INSERT INTO notes VALUES (:id, 'v1')", id=other)
    await world.sql("INSERT INTO note_members VALUES (:id, :reader)", id=other, reader=member)
    worker = await world.process(cache={"timeout_s": 0.2}, changes={"first_backoff_s": 0.01})
    reader = await world.warmed(await world.process(cache={"timeout_s": 0.2}))
    await reader.read(other, reader=member)
    return worker, reader, other, member


@race("events of other nodes settled")
async def test_an_event_of_another_node_is_not_kept_waiting(world: ClusterWorld) -> None:
    """Row 49. One batch has an event for a node that is away, and one for another node."""
    worker, reader, other, member = await two_notes(world)
    frozen = world.owner()
    frozen.pause()
    try:
        await world.write("v2")
        elsewhere = await world.write("v2", other, NoteChanged(note_id=other))
        try:
            await worker.apply()
        except CacheUnavailable as error:
            never(f"nothing was applied: {error}", happened=True)
        assert await elsewhere.applied() == "applied"
        assert await reader.body(other, member) == "v2"
    finally:
        frozen.resume()


@race("nodes used when their events are applied")
async def test_a_node_that_comes_back_is_not_read_before_its_events_are_applied(world: ClusterWorld) -> None:
    """Row 49. Its readers have seen what is new in SQL."""
    worker, reader, _, _ = await two_notes(world)
    frozen = world.owner()
    frozen.pause()
    try:
        await world.write("v2")
        assert await worker.apply() == 0
        assert await reader.body() == "v2"
    finally:
        frozen.resume()
    await until(lambda: is_back(reader), "the node does not answer")
    await reader.stoker.cache.breaker.check()
    shown = await reader.body()
    never(f"it shows {shown} again", happened=shown != "v2")

    async def applied() -> bool:
        await is_back(worker)  # as its own breaker asks every second
        return await worker.apply() == 1

    await until(applied, "the event was not applied")

    async def used() -> bool:
        await reader.stoker.cache.breaker.check()
        return not world.client(reader).away

    await until(used, "the node is not used again")
    await world.must_show("v2", reader)


async def is_back(process: Process) -> bool:
    """Whether the process gets answers from every node."""
    client = process.stoker.cache.store.client
    return len(await client.returning()) == len(client.away)


@race("the second look at a right of another node")
async def test_a_right_that_was_read_before_the_entry_was_built_is_not_enough(world: ClusterWorld) -> None:
    """Row 23. The node of the right answers; the right is taken away; then the node of the entry answers."""
    process = await desk(world)
    names = world.first.stoker.cache.store.keys
    sheet = next(
        one
        for one in (1, 3)
        if world.owner_of(names.hard(SHEET.scope(one))) is not world.owner_of(names.hard(FOLDER.scope(1)))
    )
    late = await world.process(Folders())
    client = world.client(late)
    await client.run()
    held = hold(client._owners[slot_of(names.hard(SHEET.scope(sheet)))])
    reading = world.begin(late.stoker.read("page", sheet, within=1, reader=1))
    await held.reached.wait()
    await remove(world, process)
    await world.sql("UPDATE sheets SET body = 'secret' WHERE id = :id", id=sheet)
    await apply(process, SheetChanged(sheet_id=sheet))
    await process.stoker.read("page", sheet, within=1, reader=3)
    held.release()
    try:
        shown = await reading
    except Forbidden:
        return
    never(f"it was shown {shown.value}", happened=True)


@pytest.mark.parametrize("away", ["the right's", "the entry's"])
async def test_within_a_parent_a_node_that_is_away_opens_nothing(world: ClusterWorld, away: str) -> None:
    """Row 46. SQL says who may read, and what the parent is."""
    await desk(world)
    reader = await world.process(Folders(), cache={"timeout_s": 0.2})
    names, sheet = world.first.stoker.cache.store.keys, await sheet_elsewhere(world)
    assert (await reader.stoker.read("page", sheet, within=1, reader=1)).value["body"]
    right, entry = (world.owner_of(names.hard(one)) for one in (FOLDER.scope(1), SHEET.scope(sheet)))
    frozen = right if away == "the right's" else entry
    frozen.pause()
    try:
        for within, who, refusal in ((1, 2, Forbidden), (2, 2, NotFound)):
            await is_not_shown(reader.stoker.read("page", sheet, within=within, reader=who), refusal)
        assert (await reader.stoker.read("page", sheet, within=1, reader=3)).role == "reader"
        asked = [Asked("page", sheet, within=within) for within in (1, 2)]
        shown, elsewhere = await reader.stoker.read_many(asked, reader=3)
        assert isinstance(shown, Reading)
        assert isinstance(elsewhere, NotFound)
    finally:
        frozen.resume()


async def sheet_elsewhere(world: ClusterWorld) -> int:
    """A sheet in folder 1 that another node has than the right to it."""
    keys = world.first.stoker.cache.store.keys
    right = world.owner_of(keys.hard(FOLDER.scope(1)))
    ids = (one for one in range(100, 200) if world.owner_of(keys.hard(SHEET.scope(one))) is not right)
    sheet = next(ids)
    await world.sql("INSERT INTO sheets VALUES (:id, 1, 'elsewhere')", id=sheet)
    return sheet


def hold(node: Any) -> Held:  # noqa: ANN401 - of the client
    """Hold the next question to a node."""
    held, ask = Held(), node.client.ask

    async def asked(*arguments: Any) -> Any:  # noqa: ANN401 - as of the client
        await held.pass_by()
        return await ask(*arguments)

    node.client.ask = asked
    return held
