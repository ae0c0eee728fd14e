"""After a change the worker builds an entry within a parent together with the access entry of that parent."""

from __future__ import annotations

from stoker import EntryKey, Forbidden, State
from stoker.cache.keys import EntryNames
from stoker.jobs import Outcome, Refresh
from stoker.testing import drain
from tests.races.race import race
from tests.races.test_within import apply, desk, is_not_shown, move, remove
from tests.races.world import Process, World, deferred, never, patience
from tests.support.folders import FOLDER, FolderClosed

PAGE = Refresh(view="page", scope_id="1")


async def read_desk(world: World) -> Process:
    """A process of the folders that has told Redis what was read."""
    process = await desk(world)
    cache = process.stoker.cache
    await process.stoker.accounting.flush(cache.store.client, cache.store.keys)
    return process


def members(process: Process, folder: int) -> EntryNames:
    """The names of the access entry of a folder."""
    return process.stoker.cache.filler.names(EntryKey("members", FOLDER.scope(folder)))


async def refreshed(process: Process) -> tuple[int, int]:
    """Run the refreshes that the worker has asked for; the loads of pages, and of access entries."""
    pages, access = (process.notes.loads[view] for view in ("page", "members"))
    await drain(process.stoker, later=True)
    return process.notes.loads["page"] - pages, process.notes.loads["members"] - access


async def test_after_a_change_of_rights_the_worker_builds_the_access_entry(world: World) -> None:
    process = await read_desk(world)
    await remove(world, process)
    assert await refreshed(process) == (0, 1)
    reading = await process.stoker.read("page", 1, within=1, reader=3)
    assert (reading.state, reading.role) == (State.HIT, "reader")
    await is_not_shown(process.stoker.read("page", 1, within=1, reader=1), Forbidden)


async def test_the_access_entry_of_a_parent_whose_entries_nobody_reads_is_not_built(world: World) -> None:
    process = await read_desk(world)
    await world.sql("INSERT INTO folders VALUES (5)")
    await apply(process, FolderClosed(folder_id=5))
    assert await refreshed(process) == (0, 0)


async def test_an_entry_that_has_moved_is_built_with_the_access_entry_of_its_new_parent(world: World) -> None:
    process = await read_desk(world)
    assert await world.redis.delete(members(process, 2).entry)
    await move(world, process)
    assert await refreshed(process) == (1, 1)
    other = await world.process(process.notes)
    reading = await other.stoker.read("page", 1, within=2, reader=2)
    assert (reading.state, reading.value) == (State.HIT, {"body": "first"})
    await is_not_shown(other.stoker.read("page", 1, within=1, reader=1))


async def test_of_a_parent_that_is_gone_nothing_is_built(world: World) -> None:
    process = await read_desk(world)
    await world.sql("DELETE FROM folders WHERE id = 1")
    await apply(process, FolderClosed(folder_id=1))
    assert await refreshed(process) == (0, 1)
    assert await process.task(PAGE) is Outcome.FRESH, "its entry may still be valid"
    [found] = await process.stoker.cache.store.lookup.peek([members(process, 1)])
    assert found.miss is not None
    await is_not_shown(process.stoker.read("page", 1, within=1, reader=1))


@race("overtaken refreshes deferred")
async def test_a_change_of_rights_during_a_refresh_is_not_left_to_the_next_reader(world: World) -> None:
    """Rows 18, 46. The entry is built; the access entry beside it was overtaken."""
    process = await desk(world)
    assert await world.redis.delete(members(process, 1).entry)
    loader = process.notes.hold_after("members")
    overtaken = world.begin(process.task(PAGE))
    async with patience("no access entry was built"):
        await loader.reached.wait()
    await remove(world, process)
    loader.release()
    never("nobody builds the access entry", happened=not await deferred(overtaken))
    assert await process.task(PAGE) is Outcome.FRESH
    [found] = await process.stoker.cache.store.lookup.peek([members(process, 1)])
    assert (found.role_of(3), found.role_of(1)) == ("reader", None)


async def test_a_parent_whose_access_cannot_be_built_does_not_fail_the_refresh(world: World) -> None:
    process = await desk(world)
    assert await world.redis.delete(members(process, 1).entry)
    process.notes.failing["members"] = RuntimeError("no SQL")
    assert await process.task(PAGE) is Outcome.FRESH
