"""Attacks on entries within a parent: rights rebuilt meanwhile, jobs, batches, terms, threads (row 46)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

import stoker.outbox.term
from stoker import SYSTEM, Asked, BadRequest, Forbidden, Invalidation, NotFound, Reading, State, StokerError
from tests.races.race import race
from tests.races.test_terms import FAST, SLOW, TERM_MS, Time
from tests.races.test_within import PAGES, desk, held_read, is_not_shown, move, remove
from tests.races.world import Process, World, never, patience
from tests.support.folders import FOLDER, SHEET, Folders


@race("entry and right looked up again after a wait")
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


@race("access checked again after a batch has waited")
async def test_a_reader_removed_from_one_parent_while_a_batch_waits_for_another_is_not_shown_its_entries(
    world: World,
) -> None:
    """Row 46. The access entry of the one parent is built again meanwhile, without the reader."""
    process, other = await desk(world), await world.process(Folders())
    await process.stoker.invalidate_now([Invalidation(SHEET.scope(2))])
    loader = process.notes.hold_before("page")
    asked = [Asked("page", 1, within=1), Asked("page", 2, within=2), Asked("page", 3, within=1)]
    batch = world.begin(process.stoker.read_many(asked, reader=3))
    async with patience("nothing was built"):
        await loader.reached.wait()
    await remove(world, other, reader=3)
    await other.stoker.read("page", 3, within=1, reader=1)
    loader.release()
    async with patience("the batch was not answered"):
        found = await batch
    never(f"{found} was shown", happened=_kinds(found) != [Forbidden, Reading, Forbidden])


async def test_each_entry_of_a_batch_is_judged_under_its_own_parent(world: World) -> None:
    process = await desk(world)
    asked = [
        Asked("page", 1, within=1),
        Asked("page", 1, within=2),
        Asked("page", 2, within=2),
        Asked("page", 2, within=1),
        Asked("page", 4, within=1),
        Asked("page", 1, within=9),
        Asked("page", 1),
    ]
    answers = [Reading, Forbidden, Forbidden, NotFound, NotFound, NotFound, BadRequest]
    assert _kinds(await process.stoker.read_many(asked, reader=1)) == answers
    for gone in (SHEET.scope(1), SHEET.scope(2), FOLDER.scope(1), FOLDER.scope(2)):
        await process.stoker.invalidate_now([Invalidation(gone, hard=True)])
    assert _kinds(await process.stoker.read_many(asked, reader=1)) == answers
    process.stoker.cache.breaker.trip("a test says so")
    assert _kinds(await process.stoker.read_many(asked, reader=1)) == answers


def _kinds(answers: Sequence[Reading | StokerError]) -> list[type]:
    kinds: tuple[type, ...] = (Reading, Forbidden, NotFound, BadRequest)
    return [next(kind for kind in kinds if isinstance(one, kind)) for one in answers]


async def in_terms(world: World, patch: pytest.MonkeyPatch) -> tuple[Process, Process]:
    """A web process that has read both sheets within the term, and a worker."""
    time = Time()
    patch.setattr(
        stoker.outbox.term,
        "asyncio",
        SimpleNamespace(sleep=time.sleep, timeout=asyncio.timeout, Lock=asyncio.Lock),
    )
    web = await desk(world, cache={"term_ms": TERM_MS})
    worker = await world.process(Folders(), cache={"term_ms": TERM_MS})
    time.keep(web, SLOW)
    time.keep(worker, FAST)
    await worker.stoker.cache_term.keep()
    await web.stoker.cache_term.learn()
    await read_all(web)
    asked = web.cache_link.count(b"MGET")
    await read_all(web)
    assert asked.count == 0
    return web, worker


async def read_all(web: Process) -> None:
    """Sheet 1 under both folders, by whoever may read these."""
    for reader in (1, 3):
        await web.stoker.read("page", 1, within=1, reader=reader)
    for reader in (2, 3):
        await is_not_shown(web.stoker.read("page", 1, within=2, reader=reader))


@race("the wait for a term")
async def test_within_a_term_an_entry_is_not_shown_under_the_parent_that_it_has_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 46, 47. Nor is it kept from the readers of its new parent."""
    web, worker = await in_terms(world, monkeypatch)
    await move(world, worker)
    await is_not_shown(web.stoker.read("page", 1, within=1, reader=3))
    [of_many] = await web.stoker.read_many([Asked("page", 1, within=1)], reader=1)
    never("a batch shows it", happened=isinstance(of_many, Reading))
    assert (await web.stoker.read("page", 1, within=2, reader=2)).value == {"body": "first"}


@race("the wait for a term")
async def test_within_a_term_a_right_to_the_parent_that_was_taken_away_is_not_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 23, 46, 47. The entry itself was not invalidated."""
    web, worker = await in_terms(world, monkeypatch)
    await remove(world, worker)
    await is_not_shown(web.stoker.read("page", 1, within=1, reader=1), Forbidden)
    [of_many] = await web.stoker.read_many([Asked("page", 1, within=1)], reader=1)
    never("a batch shows it", happened=isinstance(of_many, Reading))
    assert (await web.stoker.read("page", 1, within=1, reader=3)).role == "reader"


async def test_a_right_to_the_parent_is_not_served_from_before_whatever_the_invalidation(
    world: World,
) -> None:
    """A soft invalidation, and access that cannot be loaded: who was a reader is not shown the entry."""
    process = await desk(world)
    await world.sql("DELETE FROM folder_members WHERE reader_id = 1")
    await process.stoker.invalidate_now([Invalidation(FOLDER.scope(1), {"members"})])
    process.notes.failing["members"] = RuntimeError("no SQL")
    for reader in (1, 3):
        await is_not_shown(process.stoker.read("page", 1, within=1, reader=reader), RuntimeError)
        await is_not_shown(process.stoker.read("page", 1, within=1, reader=reader, bypass=True), RuntimeError)
        with pytest.raises(RuntimeError):
            await process.stoker.read_many([Asked("page", 1, within=1)], reader=reader)
    assert (await process.stoker.read("page", 1, within=1, reader=SYSTEM)).state is State.HIT
