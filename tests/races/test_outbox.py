"""No recorded event is lost, passed by or held up (rows 7, 9, 15, 28, 32, 34, 35)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

import stoker.cache.store
from stoker import (
    Applied,
    CacheUnavailable,
    DatabaseUnavailable,
    Invalidation,
)
from tests.races.race import race
from tests.races.world import World, applies, never, patience
from tests.support.notes import NoteChanged, Poison, note


@race("errors of unlinks raised")
async def test_a_change_is_not_lost_while_the_cache_is_away(world: World) -> None:
    """Row 7. The event stays unsettled until Redis acknowledges; errors of deletes are never swallowed."""
    reader = await world.warmed(await world.process())
    world.first.cache_link.cut()
    await world.write("v2")
    try:
        await world.first.apply()
    except CacheUnavailable:
        assert await unsettled(world) == 1
    world.first.cache_link.mend()
    await world.first.apply()
    await world.must_show("v2", reader)


@race("calls sent once more")
async def test_an_unlink_whose_reply_was_lost_is_not_taken_for_failed_for_ever(world: World) -> None:
    """Rows 7, 27. Unlinked, and the connection lost before the reply: sent again, settled."""
    await world.warmed()
    await world.write("v2")
    lost = world.first.cache_link.lose_reply(b"UNLINK")
    assert await applies(world.first) == 1
    assert lost.reached.is_set()
    await world.must_show("v2")


@race("errors of unlinks raised")
async def test_an_unlink_that_the_server_refused_is_not_taken_for_done(world: World) -> None:
    """Row 7. An error reply is not an acknowledgement."""
    await world.warmed()
    await world.write("v2")
    world.first.cache_link.answer(b"UNLINK", b"-NOPERM this user has no permissions\r\n")
    try:
        await world.first.apply()
    except CacheUnavailable:
        await world.first.apply()
    await world.must_show("v2")


@race("rows claimed, not passed by a cursor")
async def test_an_event_that_commits_late_is_not_passed_by(world: World) -> None:
    """Row 9. A takes its id first and commits last; rows are claimed, there is no cursor."""
    await world.sql("INSERT INTO notes VALUES (2, 'v1')")
    await world.warmed()
    stoker = world.first.stoker
    async with stoker.session() as late:
        await late.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        async with late.begin_nested():  # its release writes the row
            stoker.record(late, NoteChanged(note_id=1))
        await world.write("v2", note_id=2)
        assert await world.first.apply() == 1
        await late.commit()
    await world.first.apply()
    await world.must_show("v2")


@race("a new event being due whatever the clock says")
async def test_a_clock_that_goes_back_does_not_keep_events_waiting(world: World) -> None:
    """Row 17. Recorded, then Postgres' clock (or that of its new host) is a minute behind."""
    await world.warmed()
    await world.write("v2")
    await goes_back(world, timedelta(minutes=1))
    never("the event waits for the clock to catch up", happened=await applies(world.first) != 1)
    await world.must_show("v2")


@race("backoffs that end though the clock went back")
async def test_a_clock_that_goes_back_does_not_prolong_a_backoff(world: World) -> None:
    """Rows 17, 36. A row that was postponed is tried again, at the latest after the longest backoff."""
    await world.write("v2", event=Poison(note_id=1))
    assert await world.first.apply() == 0
    assert await world.first.apply() == 0, "it backs off"
    await goes_back(world, timedelta(hours=1))
    world.first.notes.rule_error = None
    never("the event waits for the clock to catch up", happened=await applies(world.first) != 1)


@race("settling last")
async def test_a_connection_that_dies_among_many_scopes_does_not_lose_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 15. Unlinks are idempotent and sent again; settling comes last."""
    monkeypatch.setattr(stoker.cache.store, "UNLINK_CHUNK", 1)
    entries = [("detail", 1), ("summary", 1), ("access", 1)]
    for view, note_id in entries:
        await world.first.read(note_id, view)
    await world.write("v2")
    broken = world.first.cache_link.break_after_first(b"UNLINK")
    applying = world.begin(world.first.apply())
    await broken.reached.wait()
    world.first.cache_link.cut()
    with pytest.raises(CacheUnavailable):
        await applying
    world.first.cache_link.mend()
    await world.first.apply()
    left = [view for view, note_id in entries if await world.kept(view, note_id) is not None]
    never(f"still valid: {left}", happened=bool(left))


@race("locked rows skipped")
async def test_a_second_relay_does_not_wait_for_the_first(world: World) -> None:
    """Row 28. Rows that another relay holds are skipped; each row is settled once."""
    other = await world.process()
    await world.write("v2")
    held = world.first.cache_link.hold_request(b"UNLINK")
    first = world.begin(world.first.apply())
    await held.reached.wait()
    async with patience("the second relay waits for the first", 2):
        assert await other.apply() == 0
    held.release()
    assert await first == 1
    await world.must_show("v2")


@race("the audience of the moment")
async def test_a_member_who_joined_before_the_commit_does_not_keep_the_old_list(world: World) -> None:
    """Row 32. The relay adds the audience at the time of applying to the one that the writer saw."""
    stoker = world.first.stoker
    async with stoker.session() as writer:
        await writer.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        async with writer.begin_nested():  # its release writes the row
            stoker.record(writer, NoteChanged(note_id=1, readers=(1,)))
        await world.sql("INSERT INTO note_members VALUES (1, 9)")
        await world.write("v1", note_id=2, event=NoteChanged(note_id=1, readers=(9,)))
        await world.first.apply()
        assert (await world.first.read(9, "mine", reader=9)).value == ["v1"]
        await writer.commit()
    await world.first.apply()
    shown = (await world.first.read(9, "mine", reader=9)).value
    never(f"the new member's list shows {shown}", happened=shown != ["v2"])


@race("the recorded audience")
async def test_a_member_who_left_before_the_relay_does_not_keep_the_old_list(world: World) -> None:
    """Row 32. The audience that the writer recorded counts even if SQL no longer returns it."""
    assert (await world.first.read(1, "mine", reader=1)).value == ["v1"]
    await world.remove_member()
    shown = (await world.first.read(1, "mine", reader=1)).value
    never(f"who left still lists {shown}", happened=shown != [])


@race("refreshes as best effort")
async def test_a_dead_queue_does_not_keep_events_from_being_applied(world: World) -> None:
    """Row 34. Settling needs the cache only; refreshes of hot entries are best effort."""
    world.first.queue_link.cut()
    process = await world.process(changes={"batch": 1})
    await world.warmed(process)
    await process.stoker.accounting.flush(
        process.stoker.cache.store.client, process.stoker.cache.store.keys
    )  # the entry is hot
    process.queue_link.cut()
    await world.sql("INSERT INTO notes VALUES (2, 'v1')")
    await world.write("v2", note_id=1)
    receipt = await world.write("v2", note_id=2)
    assert await applies(process) == 2
    assert await receipt.applied() is Applied.APPLIED
    await world.must_show("v2", process)


@race("idle transactions ended")
async def test_a_frozen_relay_does_not_keep_its_rows(world: World) -> None:
    """Row 35. Postgres ends its transaction; another relay applies, and its own late settling fails."""
    frozen = await world.process(changes={"idle_in_transaction_s": 0.05})
    await world.write("v2")
    held = frozen.cache_link.hold_request(b"UNLINK")
    relay = world.begin(frozen.apply())
    await held.reached.wait()
    async with patience("the frozen relay keeps its rows", 2):
        await world.sql("SELECT id FROM stoker.cache_events FOR UPDATE")
    assert await world.first.apply() == 1
    held.release()
    with pytest.raises(DatabaseUnavailable):
        await relay
    await world.must_show("v2")


@race()
async def test_an_outage_of_sql_before_settling_does_not_lose_the_event(world: World) -> None:
    """Row 27. Unlinked, then Postgres ends the connection: unsettled, applied again."""
    await world.warmed()
    await world.write("v2")
    held = world.first.cache_link.hold_request(b"UNLINK")
    relay = world.begin(world.first.apply())
    await held.reached.wait()
    ended = await world.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    assert ended == 1
    held.release()
    with pytest.raises(DatabaseUnavailable):
        await relay
    assert await world.first.apply() == 1
    await world.must_show("v2")


@race("unlinks in groups")
async def test_a_huge_invalidation_does_not_have_to_fit_into_one_deadline(world: World) -> None:
    """Row 7. Unlinks go out in groups, each with a deadline of its own."""
    process = await world.process(cache={"timeout_s": 2})
    sent: list[int] = []
    call = process.stoker.cache.store.client.call

    async def counted(*commands: tuple[Any, ...]) -> Any:  # noqa: ANN401 - an answer
        sent.append(sum(len(command) - 1 for command in commands))
        return await call(*commands)

    object.__setattr__(process.stoker.cache.store.client, "call", counted)
    await process.stoker.invalidate_now([Invalidation(note(number)) for number in range(20_000)])
    never(f"{max(sent)} stamps in one call", happened=max(sent) > 5_000)


async def goes_back(world: World, by: timedelta) -> None:
    """What was recorded lies ahead of Postgres' clock."""
    moved = "UPDATE stoker.cache_events SET recorded_at = recorded_at + :by, due_at = due_at + :by"
    await world.sql(moved, by=by)


async def unsettled(world: World) -> int:
    """How many events wait."""
    return int(await world.sql("SELECT count(*) FROM stoker.cache_events WHERE settled_at IS NULL"))
