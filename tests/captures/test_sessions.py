"""Sessions of the application that write to captured tables: rings, receipts, revocations, traces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from stoker import (
    Applied,
    CommittedNotApplied,
    DeclarationError,
    Invalidation,
    Rule,
    State,
    Stoker,
    StokerError,
    SyncStoker,
    tracing,
)
from stoker.handlers.relay import apply_all
from stoker.migrate import migrate
from stoker.outbox.writes import writes
from tests.captures.test_applying import DOMAIN, sql, states
from tests.library import SHELF, BookAdded, ShelfRenamed
from tests.support.place import Place

AT_ONCE = timedelta(0)
HARD = replace(
    DOMAIN,
    rules=(
        Rule(ShelfRenamed, lambda event: [Invalidation(SHELF.scope(event.shelf), {"label"}, hard=True)]),
        DOMAIN.rules[1],
    ),
)
RENAME = text("UPDATE shelves SET label = label || '!' WHERE id = 'a'")


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    await migrate(place.database_url, HARD)
    async with Stoker.opened(place.settings(), HARD) as opened:
        await sql(opened, "INSERT INTO shelves (id, label) VALUES ('a', 'A'), ('b', 'B')")
        await apply_all(opened)
        yield opened


@pytest.fixture
def rings(stoker: Stoker, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the process has rung since it was asked last; waits for rings that are under way."""
    posted: list[bool] = []
    ringer, original = stoker._parts.ringer, stoker.queue.packed_ring

    def pack() -> bytes:
        posted.append(True)
        return original()

    monkeypatch.setattr(stoker.queue, "packed_ring", pack)

    async def since() -> int:
        await ringer.close()
        found = len(posted)
        posted.clear()
        return found

    return since  # type: ignore[return-value]


async def test_a_session_that_wrote_rings_after_its_commit(stoker: Stoker, rings: Any) -> None:  # noqa: ANN401
    async with stoker.session() as session, session.begin():
        await session.execute(RENAME)
        assert await rings() == 0
    assert await rings() == 1


async def test_sessions_that_changed_nothing_do_not_ring(stoker: Stoker, rings: Any) -> None:  # noqa: ANN401
    async with stoker.session() as session, session.begin():
        await session.execute(text("SELECT * FROM shelves"))
    async with stoker.session() as session:
        await session.execute(RENAME)
        await session.rollback()
    async with stoker.session() as session:  # on the same connection, after the one that rolled back
        await session.execute(text("SELECT * FROM shelves"))
        await session.commit()
    assert await apply_all(stoker) == 0
    assert await rings() == 0


async def test_the_relay_does_not_ring_for_itself(stoker: Stoker, rings: Any) -> None:  # noqa: ANN401
    await sql(stoker, "UPDATE shelves SET label = 'x'")
    assert await apply_all(stoker) == 2
    assert await rings() == 0


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE tickets SET a = 1", True),
        ("  merge INTO t", True),
        ("WITH d AS (DELETE FROM t) SELECT 1", True),
        ("SELECT stoker.invalidate('a', '1')", True),
        ("SELECT updated_at, do_it FROM t", False),
        ("INSERT INTO stoker.job_requests VALUES (1)", False),
        ("UPDATE stoker.cache_events SET settled_at = now()", False),
    ],
)
def test_statements_that_may_write_are_told_apart(statement: str, *, expected: bool) -> None:
    assert writes(statement) is expected


async def test_a_receipt_follows_all_that_its_transaction_recorded(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        receipt = stoker.applied(session)
        await session.execute(RENAME)
        stoker.record(session, BookAdded(shelf="b"))
    assert await receipt.applied(AT_ONCE) is Applied.PENDING
    await apply_all(stoker)
    assert await receipt.applied(AT_ONCE) is Applied.APPLIED
    with pytest.raises(StokerError, match="follows a transaction"):
        _ = receipt.event_id


async def test_a_receipt_waits_for_each_event(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        receipt = stoker.applied(session)
        await session.execute(text("UPDATE shelves SET label = 'new'"))
    waiting = asyncio.create_task(receipt.applied(timedelta(seconds=20)))
    newest = "(SELECT max(id) FROM stoker.cache_events)"
    await sql(stoker, f"UPDATE stoker.cache_events SET settled_at = now() WHERE id = {newest}")  # noqa: S608
    assert await receipt.applied(AT_ONCE) is Applied.PENDING
    assert not waiting.done()
    await sql(stoker, "UPDATE stoker.cache_events SET settled_at = now()")
    assert await waiting is Applied.APPLIED


async def test_a_receipt_of_a_transaction_without_events_is_applied(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        receipt = stoker.applied(session)
    assert await receipt.applied(AT_ONCE) is Applied.APPLIED


async def test_a_receipt_of_a_transaction_that_was_rolled_back_says_so(stoker: Stoker) -> None:
    async with stoker.session() as session:
        receipt = stoker.applied(session)
        await session.execute(RENAME)
        await session.rollback()
    assert await receipt.applied(AT_ONCE) is Applied.ROLLED_BACK


@pytest.mark.parametrize("committed", [True, False])
async def test_a_receipt_finds_out_what_became_of_a_lost_commit(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    dialect = stoker.engine.sync_engine.dialect

    def lose(connection: Any) -> None:  # noqa: ANN401
        if committed:
            type(dialect).do_commit(dialect, connection)
        connection.driver_connection.terminate()
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        async with stoker.session() as session:
            receipt = stoker.applied(session)
            await session.execute(RENAME)
            patched.setattr(dialect, "do_commit", lose)
            with pytest.raises(ConnectionResetError):
                await session.commit()
    await apply_all(stoker)
    expected = Applied.APPLIED if committed else Applied.ROLLED_BACK
    assert await receipt.applied(timedelta(seconds=5)) is expected


async def test_a_receipt_of_a_lost_commit_that_is_still_open_is_unknown(stoker: Stoker) -> None:
    async with stoker.session() as session:
        receipt = stoker.applied(session)
        await session.rollback()
    async with stoker.session() as held:
        await held.execute(RENAME)
        asked = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
        receipt.unanswered(await held.scalar(asked))
        receipt._rolled_back = False
        assert await receipt.applied(AT_ONCE) is Applied.UNKNOWN
        await held.commit()
    await apply_all(stoker)
    assert await receipt.applied(AT_ONCE) is Applied.APPLIED


async def test_a_removal_that_only_a_capture_recorded_is_in_effect_when_it_returns(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker runs: what the capture recorded is unlinked here."""
    monkeypatch.setattr("stoker.revocation.PATIENCE", AT_ONCE)
    await states(stoker)
    async with stoker.session() as session:
        await session.execute(RENAME)
        await stoker.commit_revocation(session)
    assert (await stoker.read("label", "a")).value == {"label": "A!"}
    assert await states(stoker) == [State.HIT, State.MISS, State.HIT, State.HIT]


async def test_a_removal_beyond_all_bounds_is_in_effect_when_it_returns(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.revocation.PATIENCE", AT_ONCE)
    await states(stoker)
    async with stoker.session() as session:
        await session.execute(text("TRUNCATE shelves CASCADE"))
        await stoker.commit_revocation(session)
    await sql(stoker, "INSERT INTO shelves (id, label) VALUES ('a', 'A'), ('b', 'B')")
    assert await states(stoker) == [State.MISS] * 4


async def test_a_removal_of_nothing_is_refused(stoker: Stoker) -> None:
    async with stoker.session() as session:
        await session.execute(text("SELECT 1"))
        with pytest.raises(DeclarationError, match="recorded no event"):
            await stoker.commit_revocation(session)


async def test_a_removal_that_cannot_be_put_into_effect_is_told(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.revocation.PATIENCE", AT_ONCE)

    async def refuse(*_: object) -> None:
        from stoker import CacheUnavailable  # noqa: PLC0415

        raise CacheUnavailable("away")

    monkeypatch.setattr(stoker, "unlink", refuse)
    async with stoker.session() as session:
        await session.execute(RENAME)
        with pytest.raises(CommittedNotApplied):
            await stoker.commit_revocation(session)


async def test_a_captured_event_belongs_to_the_trace_of_its_session(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    monkeypatch.setattr(tracing, "current", lambda: trace)
    async with stoker.session() as session, session.begin():
        await session.execute(RENAME)
    newest = "SELECT trace FROM stoker.cache_events ORDER BY id DESC LIMIT 1"
    assert await sql(stoker, newest) == [(trace,)]


async def test_sql_invalidates_by_hand(stoker: Stoker) -> None:
    await states(stoker)
    await sql(stoker, "SELECT stoker.invalidate('shelf', 'a', '{titles}')")
    await apply_all(stoker)
    assert await states(stoker) == [State.HIT, State.MISS, State.HIT, State.HIT]
    await sql(stoker, "SELECT stoker.invalidate('shelf', 'b', hard => true)")
    await apply_all(stoker)
    assert await states(stoker) == [State.HIT, State.HIT, State.MISS, State.MISS]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("'shefl', 'a'", "no scope kind 'shefl'; there are: shelf"),
        ("NULL, 'a'", "no scope kind NULL"),
        ("'shelf', 'a b'", "no id of a shelf: 'a b'"),
        ("'shelf', NULL", "no id of a shelf: NULL"),
        ("'shelf', 'a', '{label,lable}'", "shelf has no such view: label, lable; there are: label, titles"),
    ],
)
async def test_a_name_that_is_not_there_is_refused_where_it_is_written(
    stoker: Stoker, arguments: str, said: str
) -> None:
    with pytest.raises(Exception, match=said):
        await sql(stoker, f"SELECT stoker.invalidate({arguments})")


async def test_who_may_not_write_to_the_outbox_may_not_invalidate_unless_granted(stoker: Stoker) -> None:
    async with stoker.session() as session:
        await session.execute(text("CREATE ROLE clerk"))
        await session.execute(text("GRANT USAGE ON SCHEMA stoker TO clerk"))
        await session.execute(text("SET LOCAL ROLE clerk"))
        with pytest.raises(DBAPIError, match="permission denied for function invalidate"):
            await session.execute(text("SELECT stoker.invalidate('shelf', 'a')"))
        await session.rollback()


def test_a_synchronous_session_takes_a_captured_right_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.revocation.PATIENCE", AT_ONCE)
    asyncio.run(migrate(place.database_url, HARD))
    engine = create_engine(make_url(place.database_url).set(drivername="postgresql+psycopg"))
    with SyncStoker(place.settings(), HARD) as sync:
        with Session(engine) as session, session.begin():
            session.execute(text("INSERT INTO shelves (id, label) VALUES ('a', 'A')"))
        sync.call(apply_all)
        assert sync.read("label", "a").value == {"label": "A"}
        with Session(engine) as session:
            session.execute(RENAME)
            receipt = sync.applied(session)
            sync.commit_revocation(session)
        assert sync.read("label", "a").value == {"label": "A!"}
        assert receipt.applied(AT_ONCE) is Applied.PENDING
        sync.call(apply_all)
        assert receipt.applied() is Applied.APPLIED
    engine.dispose()
