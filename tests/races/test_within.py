"""Entries within a parent are shown under their own parent only, to readers of that parent now (row 46)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import pytest

from stoker import (
    SYSTEM,
    Asked,
    BadRequest,
    EntryKey,
    Event,
    Forbidden,
    Invalidation,
    NotFound,
    Reading,
    State,
    StokerError,
)
from stoker.handlers.verify import verify_entries
from stoker.jobs import KeepWarm
from tests.races.race import race
from tests.races.world import Process, World, fill, never, patience
from tests.support.folders import FILLED, FOLDER, SHEET, TABLES, FolderClosed, Folders, SheetChanged
from tests.support.traps import Held

PAGES = frozenset({"page"})


async def desk(world: World, **settings: Mapping[str, Any]) -> Process:
    """A process of the folders, with both sheets and both access entries in the cache."""
    for statement in (*TABLES, *FILLED):
        await world.sql(statement)
    process = await world.process(Folders(), **settings)
    for sheet, folder in ((1, 1), (2, 2), (3, 1)):
        await process.stoker.read("page", sheet, within=folder, reader=3)
        assert (await process.stoker.read("page", sheet, within=folder, reader=3)).state is State.HIT
    return process


async def apply(process: Process, event: Event) -> None:
    """Record an event and see it applied."""
    async with process.stoker.session() as session, session.begin():
        process.stoker.record(session, event)
    await process.apply()


async def move(world: World, process: Process, sheet: int = 1, to: int = 2) -> None:
    """Put a sheet into another folder, and see that applied."""
    await world.sql("UPDATE sheets SET folder_id = :folder WHERE id = :id", folder=to, id=sheet)
    await apply(process, SheetChanged(sheet_id=sheet))


async def remove(world: World, process: Process, reader: int = 1, folder: int = 1) -> None:
    """Take a reader's right to a folder away, and see that applied."""
    await world.sql(
        "DELETE FROM folder_members WHERE folder_id = :folder AND reader_id = :reader",
        folder=folder,
        reader=reader,
    )
    await apply(process, FolderClosed(folder_id=folder))


async def is_not_shown(reading: Awaitable[Reading], refusal: type[Exception] = NotFound) -> None:
    async with patience("the read was not answered"):
        try:
            shown = await reading
        except refusal:
            return
    never(f"was shown {shown.value}", happened=True)


async def held_read(
    world: World, process: Process, loader: Held, view: str = "page", reader: int = 1
) -> Awaitable[Reading]:
    """A read of sheet 1 in folder 1 whose loader of a view is held."""
    scope = SHEET.scope(1) if view == "page" else FOLDER.scope(1)
    await process.stoker.invalidate_now([Invalidation(scope, {view})])
    waiting = world.begin(process.stoker.read("page", 1, within=1, reader=reader))
    async with patience("the loader was not asked"):
        await loader.reached.wait()
    return waiting


@race("the parent of an entry compared")
async def test_an_entry_is_not_shown_under_another_parent(world: World) -> None:
    """Row 46. A member of one folder asks for the cached sheet of another under their own."""
    process = await desk(world)
    await is_not_shown(process.stoker.read("page", 1, within=2, reader=2))


@race("the parent of an entry compared")
async def test_an_entry_is_not_built_for_another_parent(world: World) -> None:
    """Row 46. The same where the sheet must be loaded, from SQL alone too."""
    process = await desk(world)
    await process.stoker.invalidate_now([Invalidation(SHEET.scope(1))])
    await is_not_shown(process.stoker.read("page", 1, within=2, reader=2))
    await is_not_shown(process.stoker.read("page", 1, within=2, reader=2, bypass=True))
    [answer] = await process.stoker.read_many([Asked("page", 1, within=2)], reader=2)
    never("a batch shows it", happened=isinstance(answer, Reading))


@race("access checked on every read")
async def test_who_may_not_read_the_parent_is_not_shown_its_entries(world: World) -> None:
    """Row 46. One right to the parent serves every sheet in it."""
    process = await desk(world)
    await is_not_shown(process.stoker.read("page", 1, within=1, reader=2), Forbidden)


@race("the parent of an entry compared")
async def test_an_entry_that_moved_is_not_shown_under_its_old_parent(world: World) -> None:
    """Row 46. After the move was applied, the sheet exists under the new parent only."""
    process = await desk(world)
    await move(world, process)
    assert (await process.stoker.read("page", 1, within=2, reader=2)).value == {"body": "first"}
    await is_not_shown(process.stoker.read("page", 1, within=1, reader=1))


@race("entry and right looked up again after a wait")
async def test_an_entry_that_moved_while_it_was_loaded_is_not_shown_under_its_old_parent(
    world: World,
) -> None:
    """Row 46. The load began before the move: what it says of the parent is outdated."""
    process = await desk(world)
    loader = process.notes.hold_after("page")
    waiting = await held_read(world, process, loader)
    await move(world, process)
    loader.release()
    await is_not_shown(waiting)


@race("entry and right looked up again after a wait")
async def test_an_entry_that_moved_while_rights_were_loaded_is_not_shown_under_its_old_parent(
    world: World,
) -> None:
    """Row 46. The entry was found valid before the wait for the right to its parent."""
    process = await desk(world)
    loader = process.notes.hold_before("members")
    waiting = await held_read(world, process, loader, "members")
    await move(world, process)
    loader.release()
    await is_not_shown(waiting)


@race("entry and right looked up again after a wait")
async def test_a_reader_removed_from_the_parent_while_the_entry_was_loaded_is_not_shown_it(
    world: World,
) -> None:
    """Row 46. The right to the parent is looked up again after the load."""
    process = await desk(world)
    loader = process.notes.hold_before("page")
    waiting = await held_read(world, process, loader)
    await remove(world, process)
    loader.release()
    await is_not_shown(waiting, Forbidden)


@race("access checked on every read")
async def test_entries_of_a_parent_that_is_gone_are_not_shown(world: World) -> None:
    """Row 46. A deleted folder hides its sheets, though their own entries are still valid."""
    process = await desk(world)
    await world.sql("DELETE FROM folders WHERE id = 1")
    await apply(process, FolderClosed(folder_id=1))
    assert (await process.stoker.read("page", 1, reader=SYSTEM)).state is State.HIT
    await is_not_shown(process.stoker.read("page", 1, within=1, reader=1))


@race("no fail-safe within a parent")
async def test_fail_safe_does_not_show_an_entry_under_the_parent_that_it_has_left(world: World) -> None:
    """Row 46. A soft invalidation, a failing loader: the outdated entry names the old folder."""
    process = await desk(world)
    process.notes.failing["page"] = RuntimeError("no SQL")
    await world.sql("UPDATE sheets SET folder_id = 2 WHERE id = 1")
    await process.stoker.invalidate_now([Invalidation(SHEET.scope(1), PAGES)])
    await is_not_shown(process.stoker.read("page", 1, within=1, reader=1), RuntimeError)


@race("parents looked up again after a batch has waited")
async def test_an_entry_that_moved_while_the_rest_of_a_batch_was_built_is_not_shown(world: World) -> None:
    """Row 46. A cached sheet waits with its batch for a load of another process."""
    process, other = await desk(world), await world.process(Folders())
    await process.stoker.invalidate_now([Invalidation(SHEET.scope(2))])
    loader = other.notes.hold_before("page")
    world.begin(other.stoker.read("page", 2, within=2, reader=3))
    await loader.reached.wait()
    asked = [Asked("page", 1, within=1), Asked("page", 2, within=2)]
    batch = world.begin(process.stoker.read_many(asked, reader=3))
    for _ in range(2):  # it asks for the lease after it has looked everything up for the second time
        asking = process.cache_link.hold_request(process.digest("begin"))
        await asking.reached.wait()
        asking.release()
    await move(world, process)
    loader.release()
    async with patience("the batch was not answered"):
        answers = await batch
    shown = _shown(answers)
    never(f"a sheet that moved was shown: {shown}", happened=shown != [{"body": "second"}])


def _shown(answers: Sequence[Reading | StokerError]) -> list[object]:
    return [one.value for one in answers if isinstance(one, Reading)]


async def test_a_hit_within_a_parent_is_one_round_trip(world: World) -> None:
    process = await desk(world)
    asked = process.cache_link.count(b"MGET")
    reading = await process.stoker.read("page", 1, within=1, reader=1)
    assert (reading.state, reading.role, asked.count) == (State.HIT, "reader", 1)


async def test_many_entries_of_a_parent_need_its_access_entry_once(world: World) -> None:
    process = await desk(world)
    [fetched] = await _fetched_names(process, [Asked("page", 1, within=1), Asked("page", 3, within=1)])
    assert sum(name.endswith(":members") for name in fetched) == 1
    await process.stoker.invalidate_now([Invalidation(FOLDER.scope(1)), Invalidation(SHEET.scope(1))])
    before = process.notes.loads["members"]
    answers = await process.stoker.read_many(
        [Asked("page", 1, within=1), Asked("page", 3, within=1)], reader=1
    )
    assert _shown(answers) == [{"body": "first"}, {"body": "third"}]
    assert process.notes.loads["members"] == before + 1


async def _fetched_names(process: Process, asked: list[Asked]) -> list[list[str]]:
    cache, calls = process.stoker.cache, []
    lookup = cache.store.lookup
    fetch = lookup.fetch

    async def noted(names, **options):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
        calls.append([one.entry for one in names])
        return await fetch(names, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "fetch", noted)
        assert len(_shown(await process.stoker.read_many(asked, reader=1))) == len(asked)
    return calls


async def test_an_entry_without_a_parent_is_for_nobody(world: World) -> None:
    process = await desk(world)
    await is_not_shown(process.stoker.read("page", 4, within=1, reader=1))
    await is_not_shown(process.stoker.read("page", 4, reader=SYSTEM))


async def test_what_is_elsewhere_is_refused_in_the_words_of_what_is_nowhere(world: World) -> None:
    process = await desk(world)
    with pytest.raises(NotFound) as elsewhere:
        await process.stoker.read("page", 1, within=2, reader=2)
    with pytest.raises(NotFound) as nowhere:
        await process.stoker.read("page", 99, within=2, reader=2)
    assert str(elsewhere.value) == str(nowhere.value).replace("99", "1")


async def test_parents_hold_without_a_cache(world: World) -> None:
    process = await desk(world)
    process.stoker.cache.breaker.trip("a test says so")
    assert (await process.stoker.read("page", 1, within=1, reader=1)).state is State.BYPASS
    await is_not_shown(process.stoker.read("page", 1, within=2, reader=2))
    [elsewhere] = await process.stoker.read_many([Asked("page", 1, within=2)], reader=2)
    assert isinstance(elsewhere, NotFound)


async def test_parents_hold_where_the_cache_is_full(full_cache: World) -> None:
    process = await desk(full_cache)
    await fill(full_cache)
    await process.stoker.invalidate_now([Invalidation(SHEET.scope(1))])
    loads = process.notes.loads["page"]
    assert (await process.stoker.read("page", 1, within=1, reader=1)).state is State.MISS
    assert process.notes.loads["page"] == loads + 1
    await is_not_shown(process.stoker.read("page", 1, within=2, reader=2))


async def test_the_verifier_finds_a_move_that_nobody_recorded(world: World) -> None:
    process = await desk(world)
    stoker = process.stoker
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    await world.sql("UPDATE sheets SET folder_id = 2 WHERE id = 1")
    checked = await verify_entries(stoker, 100)
    assert [str(key) for key in checked.stale] == ["sheet:1/page"]
    await is_not_shown(stoker.read("page", 1, within=1, reader=1))


async def test_a_request_that_names_no_parent_or_needs_none_is_refused(world: World) -> None:
    process = await desk(world)
    for refused, why in (
        (process.stoker.read("page", 1, reader=1), "page is read within a folder: pass within="),
        (process.stoker.read("page", 1, within="one", reader=1), "folder id 'one' is not an integer"),
        (process.stoker.read("members", 1, within=1), "members is not read within a parent"),
        (process.stoker.read("members", 1, within=1, reader=SYSTEM), "members is not read within a parent"),
    ):
        with pytest.raises(BadRequest, match=why) as told:
            await refused
        assert told.value.field == "within"
    with pytest.raises(Forbidden, match="pass reader="):
        await process.stoker.read("page", 1, within=1)


async def test_the_system_reads_everything_and_within_a_parent_what_is_there(world: World) -> None:
    process = await desk(world)
    reading = await process.stoker.read("page", 1, reader=SYSTEM)
    assert (reading.state, reading.role) == (State.HIT, None)
    assert (await process.stoker.read("page", 1, within=1, reader=SYSTEM)).state is State.HIT
    await is_not_shown(process.stoker.read("page", 1, within=2, reader=SYSTEM))
    await process.stoker.invalidate_now([Invalidation(SHEET.scope(1))])
    await is_not_shown(process.stoker.read("page", 1, within=2, reader=SYSTEM))
    [of_many] = await process.stoker.read_many([Asked("page", 1)], reader=SYSTEM)
    assert isinstance(of_many, Reading)
    assert (await process.stoker.read("page", 1, reader=SYSTEM, bypass=True)).state is State.BYPASS
    for said in ("SYSTEM", str(SYSTEM), repr(SYSTEM)):
        with pytest.raises(Forbidden):
            await process.stoker.read("page", 1, within=1, reader=said)


async def test_keep_warm_keeps_what_guards_an_entry_within_a_parent(world: World) -> None:
    """Only the entry says which parent it lies within, so that it may have to be built before it is asked."""
    process = await desk(world)
    cache = process.stoker.cache
    await process.stoker.accounting.flush(cache.store.client, cache.store.keys)
    access, page = (
        cache.filler.names(EntryKey(view, scope)).entry
        for view, scope in (("members", FOLDER.scope(1)), ("page", SHEET.scope(1)))
    )
    for gone in ((access,), (access, page)):
        assert await world.redis.delete(*gone) == len(gone)
        await process.task(KeepWarm())
        assert await world.redis.exists(*gone) == len(gone)
