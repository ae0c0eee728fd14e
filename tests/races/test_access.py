"""The access right is checked on every read, after every wait (rows 21, 23)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress

import pytest
from sqlalchemy import text

from stoker import (
    Access,
    Domain,
    EntryKey,
    Forbidden,
    Invalidation,
    NotFound,
    Reading,
    ScopeKind,
    Stoker,
    StokerError,
    View,
)
from stoker.cache.lookup import Asked
from tests.races.race import race
from tests.races.world import Process, World, never, patience
from tests.support.notes import note


@race("nothing kept of what does not exist")
async def test_what_did_not_exist_is_not_remembered_after_its_creation(world: World) -> None:
    """Row 21. NotFound is not cached: creation needs no event."""
    with suppress(NotFound):
        await world.first.read(2, "access")
    await world.sql("INSERT INTO notes VALUES (2, 'new')")
    await world.sql("INSERT INTO note_members VALUES (2, 1)")
    shown = (await world.first.read(2, "access")).value
    never(f"the new note's access is {shown}", happened=shown != {"1": "reader"})


@race("refusals confirmed in SQL")
async def test_a_reader_who_was_refused_is_not_refused_after_joining(world: World) -> None:
    """Row 21. A refusal is confirmed in SQL and not cached."""
    with pytest.raises(Forbidden):
        await world.first.read(reader=2)
    await world.sql("INSERT INTO note_members VALUES (1, 2)")
    try:
        await world.first.read(reader=2)
    except Forbidden:
        never("a member was refused", happened=True)


@race("access checked on every read")
async def test_a_removed_member_does_not_get_the_cached_entry(world: World) -> None:
    """Row 23. Access is checked before a byte, an ETag or a 304."""
    process = await world.warmed()
    await world.remove_member()
    await _is_refused(process.read())


@race("access checked on every read")
async def test_a_removed_member_is_not_told_that_nothing_has_changed(world: World) -> None:
    """Row 23. A 304 is an answer: what a client knows is compared after the read, as docs/reading.md says."""
    process = await world.warmed()
    known = (await process.read()).etag
    assert await _status(process, known) == 304
    assert await _status(process, '"another"') == 200
    await world.remove_member(body="v1")  # the entry stays valid, and its tag the same
    status = await _status(process, known)
    never(f"a removed member got a {status}", happened=status != 403)


async def _status(process: Process, if_none_match: str) -> int:
    """What a web app answers to a conditional request."""
    try:
        reading = await process.read()
    except Forbidden:
        return 403
    return 304 if reading.etag == if_none_match else 200


async def _is_refused(reading: Awaitable[Reading]) -> None:
    try:
        shown = await reading
    except Forbidden:
        return
    never(f"a removed member was shown {shown.value}", happened=True)


@race("access checked after a wait")
async def test_a_member_removed_while_waiting_does_not_get_the_build(world: World) -> None:
    """Row 23. After any wait, access is checked again."""
    process = await world.warmed()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail"}))])
    loader = process.notes.hold_before("detail")
    waiting = world.begin(process.read())
    await loader.reached.wait()
    await world.remove_member()
    loader.release()
    await _is_refused(waiting)


@race("rights loaded again when they were overtaken")
async def test_a_member_removed_while_rights_were_loaded_again_does_not_get_the_build(world: World) -> None:
    """Row 23. Rights whose load was overtaken say nothing: they are read again."""
    process = await world.warmed()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail"}))])
    loader, right = process.notes.hold_before("detail"), process.notes.hold_after("access")
    waiting = world.begin(process.read())
    await loader.reached.wait()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"access"}))])
    loader.release()
    await right.reached.wait()
    await world.remove_member()
    right.release()
    await _is_refused(waiting)


@race("entry and right looked up again after a wait")
async def test_a_reader_who_joins_while_waiting_is_not_shown_what_was_before(world: World) -> None:
    """Row 23. The reader asks; the secret is replaced; then the reader is let in."""
    process = await world.warmed()
    right = process.notes.hold_before("access")
    waiting = world.begin(process.read(reader=2))
    await right.reached.wait()
    await _replaced_then_let_in(world)
    right.release()
    shown = (await waiting).value["body"]
    never(f"{shown} was shown", happened=shown != "v2")


@race("entry and right looked up again after a wait")
async def test_a_reader_who_joins_during_a_build_is_not_shown_what_was_before(world: World) -> None:
    """Row 23. The entry is built beside the right, which is granted after the secret was replaced."""
    process = await world.warmed()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail", "access"}))])
    right, loader = process.notes.hold_before("access"), process.notes.hold_after("detail")
    waiting = world.begin(process.read(reader=2))
    await right.reached.wait()
    await loader.reached.wait()
    await _replaced_then_let_in(world)
    loader.release()
    right.release()
    shown = (await waiting).value["body"]
    never(f"{shown} was shown", happened=shown != "v2")


@race("entry looked up again after a wait for the right to a stale answer")
async def test_what_is_taken_away_while_a_right_is_asked_for_is_not_shown_as_stale(
    world: World,
) -> None:
    """Rows 22, 23. The loader fails; a hard change takes the old value away while the right is asked for."""
    process = await world.warmed()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail"}))])
    process.notes.failing["detail"] = RuntimeError("no SQL")
    await world.sql("INSERT INTO note_members VALUES (1, 2)")  # which no cached entry knows
    loader = process.notes.hold_before("detail")
    waiting = world.begin(process.read(reader=2))
    await loader.reached.wait()
    right = process.notes.hold_before("access")
    loader.release()
    await right.reached.wait()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail"}), hard=True)])
    right.release()
    with suppress(RuntimeError):
        shown = (await waiting).value["body"]
        never(f"{shown} was shown", happened=True)


async def _replaced_then_let_in(world: World) -> None:
    await world.write("v2")
    await (await world.process()).apply()
    await world.sql("INSERT INTO note_members VALUES (1, 2)")


@race("a missing reader matching no id")
async def test_nobody_does_not_read_as_somebody_whose_id_is_none(world: World) -> None:
    """Row 23. A read without a reader is refused, whatever ids exist."""

    async def load(_: object, keys: Sequence[EntryKey]) -> Mapping[EntryKey, str]:
        return dict.fromkeys(keys, "a secret")

    mail = View("mail", "user", load, access=Access.OWNER)
    domain = Domain(name="mail", scopes=(ScopeKind("user", str),), views=(mail,), rules=())
    async with Stoker.opened(world.first.stoker.settings, domain) as stoker:
        assert (await stoker.read("mail", "None", reader="None")).value == "a secret"
        await _is_refused(stoker.read("mail", "None"))
    await _is_refused(world.first.stoker.read("detail", 1))


@race("access checked before a stale answer")
async def test_a_member_removed_while_the_loader_failed_does_not_get_the_old_value(world: World) -> None:
    """Row 23. Fail-safe checks access like any other answer."""
    process = await world.warmed()
    await world.sql("INSERT INTO note_members VALUES (1, 2)")
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail"}))])
    loader = process.notes.hold_before("detail")
    waiting = world.begin(process.read())
    await loader.reached.wait()
    async with process.stoker.session() as session:
        await session.execute(text("DELETE FROM note_members WHERE reader_id = 1"))
        await session.commit()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"access"}))])
    process.notes.failing["detail"] = RuntimeError("no SQL")
    loader.release()
    await _is_refused(waiting)


@race("access checked after SQL")
async def test_a_member_removed_during_a_bypassed_load_does_not_get_it(world: World) -> None:
    """Row 23. A reader without a cache waits for SQL: its right is checked after the load."""
    process = world.first
    loader = process.notes.hold_before("detail")
    waiting = world.begin(process.read(bypass=True))
    await loader.reached.wait()
    await world.remove_member()
    loader.release()
    await _is_refused(waiting)


@race("access read with what it guards")
async def test_a_member_removed_between_two_requests_to_redis_does_not_get_the_newer_value(
    world: World,
) -> None:
    """Row 23. A kept entry that is outdated takes another round trip, and access takes it too."""
    process = await world.warmed(await world.process())
    await world.sql("INSERT INTO note_members VALUES (1, 2)")
    await world.sql("UPDATE notes SET body = 'v2'")
    await world.first.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail"}))])
    second_request = process.cache_link.hold_request(b"}:detail\r\n")
    waiting = world.begin(process.read())
    async with patience("the body was not asked for"):
        await second_request.reached.wait()
    await world.remove_member(body="secret")
    assert await world.first.body(reader=2) == "secret"
    second_request.release()
    await _is_refused(waiting)


@race("access checked again after a batch has waited")
async def test_a_member_removed_while_a_batch_is_built_does_not_get_what_was_cached(world: World) -> None:
    """Row 23. A batch that had to wait checks every entry again, and its reader's right."""
    process = await world.warmed()
    loader = process.notes.hold_before("summary")
    batch = world.begin(process.stoker.read_many([Asked("detail", 1), Asked("summary", 1)], reader=1))
    await loader.reached.wait()
    await world.remove_member()
    loader.release()
    async with patience("the batch was not answered"):
        answers = await batch
    shown = [answer.value for answer in answers if isinstance(answer, Reading)]
    never(f"a removed member was shown {shown}", happened=bool(shown))


@race("access checked again when all of a batch is built")
async def test_who_loses_a_right_while_the_rest_of_a_batch_is_built_is_not_shown_the_entry(
    world: World,
) -> None:
    """Row 23. A cached entry waits with its batch for another process, and is checked again."""
    process, other = await world.warmed(), await world.process()
    await _another_note(world)
    loader = other.notes.hold_before("summary")
    world.begin(other.read(2, "summary"))
    await loader.reached.wait()
    batch = world.begin(process.stoker.read_many([Asked("detail", 1), Asked("summary", 2)], reader=1))
    for _ in range(
        2
    ):  # before its second check it would see the removal there; it asks for the lease after both
        asking = process.cache_link.hold_request(process.digest("begin"))
        await asking.reached.wait()
        asking.release()
    await world.remove_member()
    loader.release()
    await _shows_the_other_alone(batch)


@race("access checked again when all of a batch is built")
async def test_who_loses_a_right_while_the_rest_of_a_batch_comes_from_sql_is_not_shown_the_entry(
    world: World,
) -> None:
    """Row 23. The same past the cache: what SQL said of one entry is old when the last one is there."""
    process = world.first
    await _another_note(world)
    process.stoker.cache.breaker.trip("a test says so")
    slow, right = process.notes.hold_before("summary"), process.notes.hold_after("access")
    batch = world.begin(process.stoker.read_many([Asked("detail", 1), Asked("summary", 2)], reader=1))
    await slow.reached.wait()
    await right.reached.wait()
    await world.sql("DELETE FROM note_members WHERE note_id = 1")
    right.release()
    slow.release()
    await _shows_the_other_alone(batch)


async def _another_note(world: World) -> None:
    await world.sql("INSERT INTO notes VALUES (2, 'slow')")
    await world.sql("INSERT INTO note_members VALUES (2, 1)")


async def _shows_the_other_alone(batch: Awaitable[Sequence[Reading | StokerError]]) -> None:
    async with patience("the batch was not answered"):
        answers = await batch
    shown = [answer.value for answer in answers if isinstance(answer, Reading)]
    never(f"a removed member was shown {shown}", happened=len(shown) != 1)
