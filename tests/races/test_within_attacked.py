"""Attacks on entries within a parent: rights rebuilt meanwhile, jobs, batches, terms, threads (row 46)."""

from __future__ import annotations

from stoker import SYSTEM, Forbidden, Invalidation
from tests.races.race import race
from tests.races.test_within import PAGES, desk, held_read, is_not_shown, remove
from tests.races.world import World
from tests.support.folders import SHEET, Folders


@race("parent and right looked up again after a wait")
async def test_a_reader_whose_removal_is_in_the_cache_before_the_entry_is_loaded_is_not_shown_it(
    world: World,
) -> None:
    """Row 46. Somebody else has built the access entry again meanwhile, without the reader."""
    process = await desk(world)
    other = await world.process(Folders())
    loader = process.notes.hold_before("page")
    waiting = await held_read(world, process, loader)
    await remove(world, process)
    await other.stoker.read("page", 3, within=1, reader=3)
    loader.release()
    await is_not_shown(waiting, Forbidden)


async def test_a_reader_who_joins_while_the_entry_is_loaded_is_shown_it(world: World) -> None:
    """The access entry is valid and does not name the reader yet: SQL confirms the right, twice."""
    process = await desk(world)
    await world.sql("INSERT INTO folder_members VALUES (1, 2)")
    loader = process.notes.hold_before("page")
    waiting = await held_read(world, process, loader, reader=2)
    loader.release()
    assert (await waiting).value == {"body": "first"}


async def test_fail_safe_gives_a_job_nothing_from_a_parent_that_the_entry_may_have_left(world: World) -> None:
    process = await desk(world)
    process.notes.failing["page"] = RuntimeError("no SQL")
    await world.sql("UPDATE sheets SET folder_id = 2 WHERE id = 1")
    await process.stoker.invalidate_now([Invalidation(SHEET.scope(1), PAGES)])
    await is_not_shown(process.stoker.read("page", 1, within=1, reader=SYSTEM), RuntimeError)
    await is_not_shown(process.stoker.read("page", 1, reader=SYSTEM), RuntimeError)
