"""Receipts tell the truth, and the ring comes after the commit (rows 25, 43)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from stoker import (
    Applied,
    Receipt,
    Stoker,
)
from stoker.outbox.inserts import CacheEvent
from stoker.tables import cache_events
from tests.races.race import race
from tests.races.world import World, never, patience
from tests.support.notes import MemberRemoved, NoteChanged


@race("receipts that check")
async def test_a_writer_who_waits_does_not_read_what_was_before(world: World) -> None:
    """Row 25. `receipt.applied` says APPLIED only after the cache acknowledged."""
    await world.warmed()
    held = world.first.cache_link.hold_request(b"UNLINK")
    receipt = await world.write("v2")
    relay = world.begin(world.first.apply())
    await held.reached.wait()
    reader = await world.process()
    waiting = world.begin(receipt.applied())
    said = await receipt.applied(timedelta(0))
    if said is Applied.APPLIED:
        shown = await reader.body()
        never(f"told that it is applied, the writer read {shown}", happened=shown != "v2")
    held.release()
    await relay
    assert await waiting is Applied.APPLIED
    await world.must_show("v2", reader)


class Rings:
    """Counts the rings of a process instead of sending them."""

    def __init__(self, stoker: Stoker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("soon", "soon_from_thread"):
            monkeypatch.setattr(stoker._parts.ringer, name, self._ring)

    def _ring(self, _event_ids: Sequence[int]) -> None:
        self.count += 1


@race("ringing at the outermost commit")
async def test_a_savepoints_release_does_not_ring(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 43. Only the outermost commit rings: before it, a relay would find nothing."""
    stoker = world.first.stoker
    rings = Rings(stoker, monkeypatch)
    async with stoker.session() as session:
        async with session.begin_nested():
            receipt = stoker.record(session, NoteChanged(note_id=1))
        never("it rang before the commit", happened=rings.count > 0)
        await session.commit()
    assert rings.count == 1
    assert await world.first.apply() == 1
    assert await receipt.applied() is Applied.APPLIED


@race()
async def test_an_event_of_a_savepoint_that_was_rolled_back_is_not_applied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 43. Its receipt says so, and the rest of the transaction is applied."""
    stoker = world.first.stoker
    rings = Rings(stoker, monkeypatch)
    async with stoker.session() as session:
        kept = stoker.record(session, NoteChanged(note_id=1))
        savepoint = await session.begin_nested()
        async with session.begin_nested():  # its release writes the row
            undone = stoker.record(session, NoteChanged(note_id=2))
        await savepoint.rollback()
        await session.commit()
    assert rings.count == 1
    assert await undone.applied() is Applied.ROLLED_BACK
    assert await world.first.apply() == 1
    assert await kept.applied() is Applied.APPLIED


@race()
@pytest.mark.parametrize("ending", ["rollback", "close", "error"])
async def test_an_event_that_was_never_committed_is_not_said_to_be_applied(
    world: World, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Row 25. The receipt says ROLLED_BACK, however the transaction ended."""
    stoker = world.first.stoker
    rings = Rings(stoker, monkeypatch)
    with suppress(ZeroDivisionError):
        async with stoker.session() as session:
            async with session.begin_nested():  # its release writes the row
                receipt = stoker.record(session, NoteChanged(note_id=1))
            if ending == "rollback":
                await session.rollback()
            assert ending != "error" or 1 / 0
    assert await receipt.applied() is Applied.ROLLED_BACK
    assert rings.count == 0
    assert await world.first.apply() == 0


@race("outer transactions noticed")
@pytest.mark.parametrize("bound", ["itself", "by table"])
async def test_a_receipt_does_not_say_applied_before_an_outer_transaction_commits(
    world: World, bound: str
) -> None:
    """Rows 25, 43. A session that joined a connection's transaction commits only its own savepoint."""
    stoker = world.first.stoker
    async with stoker.engine.connect() as connection:
        outer = await connection.begin()
        binds: dict[str, Any] = {"bind": connection}
        if bound == "by table":
            binds = {"binds": dict.fromkeys((CacheEvent, cache_events), connection)}
        async with AsyncSession(**binds, join_transaction_mode="create_savepoint") as session:
            receipt = stoker.record(session, NoteChanged(note_id=1))
            await session.commit()
        try:
            said = await receipt.applied()
        except Exception:  # noqa: BLE001 - saying that it cannot be known is honest
            said = None
        never("nothing is committed", happened=said is Applied.APPLIED)
        await outer.rollback()


@race()
async def test_a_receipt_survives_a_session_that_forgets_its_rows(world: World) -> None:
    """Row 25. Emptying a session, before or after a flush, undoes nothing: both events are applied."""
    stoker = world.first.stoker
    async with stoker.session() as session:
        flushed = stoker.record(session, NoteChanged(note_id=1))
        await session.flush()
        waiting = stoker.record(session, NoteChanged(note_id=2))
        session.expunge_all()
        await session.commit()
    assert await world.first.apply() == 2
    assert await flushed.applied() is Applied.APPLIED
    assert await waiting.applied() is Applied.APPLIED


@race()
async def test_an_event_that_is_only_flushed_is_not_lost_with_an_outer_commit(world: World) -> None:
    """Row 43. Whoever commits the connection itself commits what the session has flushed."""
    stoker = world.first.stoker
    async with stoker.engine.begin() as connection:
        session = AsyncSession(connection)
        stoker.record(session, NoteChanged(note_id=1))
        await session.flush()
    await session.close()
    assert await world.first.apply() == 1


@race()
async def test_events_of_a_flush_of_many_are_not_taken_for_each_other(world: World) -> None:
    """Row 25. Each receipt has the id of its own row, also of one that was recorded during a flush."""
    stoker = world.first.stoker
    receipts: dict[int, Receipt] = {}
    async with stoker.session() as session:

        def record_more(*_: object) -> None:
            if 4 not in receipts:
                receipts[4] = stoker.record(session, NoteChanged(note_id=4))

        event.listen(session.sync_session, "before_flush", record_more)
        for note_id in (1, 2, 3):
            receipts[note_id] = stoker.record(session, NoteChanged(note_id=note_id))
        await session.flush()
        await session.commit()
    recorded = await world.sql("SELECT json_object_agg(id, payload->'note_id') FROM stoker.cache_events")
    assert recorded == {str(receipt.event_id): note_id for note_id, receipt in receipts.items()}
    assert await world.first.apply() == 4


@race()
async def test_a_savepoint_that_was_kept_is_not_said_to_be_applied_when_the_one_around_it_was_not(
    world: World,
) -> None:
    """Row 43. A released savepoint belongs to what surrounds it."""
    stoker = world.first.stoker
    async with stoker.session() as session:
        outer = await session.begin_nested()
        async with session.begin_nested():
            undone = stoker.record(session, NoteChanged(note_id=1))
        await outer.rollback()
        kept = stoker.record(session, NoteChanged(note_id=2))
        await session.commit()
    assert await undone.applied() is Applied.ROLLED_BACK
    assert await world.first.apply() == 1
    assert await kept.applied() is Applied.APPLIED


@race("what a savepoint took away written again")
async def test_an_event_is_not_lost_with_a_savepoint_that_began_after_it(world: World) -> None:
    """Row 43. Its row was written when an inner savepoint was released, and went with the one around."""
    stoker = world.first.stoker
    async with stoker.session() as session:
        await session.execute(text("SELECT 1"))
        receipt = stoker.record(session, NoteChanged(note_id=1))
        around = await session.begin_nested()
        async with session.begin_nested():
            pass
        await around.rollback()
        await session.commit()
    never("the event is lost", happened=await world.first.apply() != 1)
    assert await receipt.applied() is Applied.APPLIED


def _row() -> CacheEvent:
    """An object of the application's that the commit flushes."""
    row = CacheEvent()
    row.kind, row.payload = "note.changed", {"note_id": 2}
    row.scopes = []
    return row


@race("rows flushed where the commit has begun")
@pytest.mark.parametrize("moment", ["before_commit", "after_flush"])
async def test_an_event_that_is_recorded_while_a_session_commits_is_not_lost(
    world: World, moment: str
) -> None:
    """Row 43. By a listener of the application's, which is asked after ours."""
    stoker = world.first.stoker
    async with stoker.session() as session:
        await session.execute(text("SELECT 1"))
        receipts: list[Receipt] = []

        def record_once(*_: object) -> None:
            if not receipts:
                receipts.append(stoker.record(session, NoteChanged(note_id=1)))

        event.listen(session.sync_session, moment, record_once)
        if moment == "after_flush":
            session.add(_row())
        await session.commit()
    applied = await world.first.apply()
    never("the event is lost", happened=applied != len(receipts) + (moment == "after_flush"))


@race("rows flushed until the commit has ended")
@pytest.mark.parametrize("before", ["flush", "savepoint"])
async def test_an_event_that_is_recorded_late_in_a_commit_is_not_lost(world: World, before: str) -> None:
    """Row 43. The application's listener flushes, or uses a savepoint, before it records."""
    stoker = world.first.stoker
    async with stoker.session() as session:
        await session.execute(text("SELECT 1"))

        def record_late(sync: Session) -> None:
            if sync.in_nested_transaction():
                return
            sync.add(_row())
            with sync.begin_nested() if before == "savepoint" else nullcontext():
                sync.flush()
            stoker.record(session, NoteChanged(note_id=1))

        event.listen(session.sync_session, "before_commit", record_late)
        await session.commit()
    never("the event is lost", happened=await world.first.apply() != 2)


@race("the session's own choice of a connection asked for")
async def test_an_event_is_not_lost_whatever_connects_its_session(world: World) -> None:
    """Row 43. A session that finds its caller's connection by itself, and is only flushed."""
    stoker = world.first.stoker
    async with stoker.engine.begin() as connection:

        def write(sync: Connection) -> None:
            session = Session(binds={CacheEvent: sync, cache_events: sync})
            session.execute(text("SELECT 1"), bind_arguments={"bind": sync})
            stoker.record(session, NoteChanged(note_id=1))
            session.flush()

        await connection.run_sync(write)
    never("the event is lost", happened=await world.first.apply() != 1)


@race()
async def test_an_event_that_is_recorded_outside_a_transaction_begins_one(world: World) -> None:
    """Row 43. As adding a row would; a session that begins none by itself says so."""
    stoker = world.first.stoker
    async with AsyncSession(stoker.engine) as session:
        stoker.record(session, NoteChanged(note_id=1))
        await session.commit()
    assert await world.first.apply() == 1
    async with AsyncSession(stoker.engine, autobegin=False) as session:
        with pytest.raises(InvalidRequestError, match=r"[Aa]utobegin"):
            stoker.record(session, NoteChanged(note_id=1))


@race()
@pytest.mark.parametrize("savepoint", ["", "savepoint"])
async def test_an_event_of_a_synchronous_session_is_not_lost(world: World, savepoint: str) -> None:
    """Rows 6, 43. psycopg sessions record, and ring from a thread of their own."""
    stoker = world.first.stoker
    await world.warmed()
    rung = world.first.queue_link.count(b"relay.v1")
    engine = create_engine(world.urls.database.replace("+asyncpg", "+psycopg"))

    def write() -> Receipt:
        with Session(engine) as session:
            session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
            with session.begin_nested() if savepoint else nullcontext():
                receipt = stoker.record(session, NoteChanged(note_id=1))
            session.commit()
            return receipt

    receipt = await asyncio.to_thread(write)
    engine.dispose()
    async with patience("nobody rang"):
        await rung.reach(1)
    assert await world.first.apply() == 1
    assert await receipt.applied() is Applied.APPLIED
    await world.must_show("v2")


@race()
async def test_a_removal_is_not_forgotten_when_its_row_is_pruned(world: World) -> None:
    """Row 25. A settled event that was pruned counts as applied."""
    receipt = await world.write("v2", event=MemberRemoved(note_id=1, reader_id=1))
    await world.first.apply()
    await world.sql("DELETE FROM stoker.cache_events")
    assert await receipt.applied() is Applied.APPLIED
