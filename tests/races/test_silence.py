"""Postgres stops answering: its host lost power, or the network drops packets (rows 7, 38, 39).

What a pooled connection is asked is then never answered, while a new one reaches the server's successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import make_url, text

import stoker.postgres.questions
import stoker.revocation
from stoker import Applied, DatabaseUnavailable, Receipt
from stoker.chaos.link import through
from tests.races.race import race
from tests.races.world import PATIENCE_S, Process, World, applies, never, no_error, patience
from tests.support.notes import NoteChanged, NoteDeleted
from tests.support.traps import TrappedLink, link_to_postgres

QUICKLY_S = 0.2
"""For an answer that never comes."""
IN_VAIN_S = 5
"""For what does not come without its guard; with it, it takes three, most of them to close what is silent."""
_REASON = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
LAST_WORDS = b"E" + (len(_REASON) + 4).to_bytes(4) + _REASON
"""An ErrorResponse of Postgres' protocol."""


class Wired:
    """A process whose way to Postgres is a link."""

    def __init__(self, process: Process, link: TrappedLink) -> None:
        self.process = process
        self.link = link


@pytest.fixture
async def wired(world: World) -> AsyncIterator[Wired]:
    """Beside the world's first process, whose way is direct."""
    async with _wired(world, connect_timeout_s=1) as wired:
        yield wired


@pytest.fixture
async def patient(world: World) -> AsyncIterator[Wired]:
    """The same, with a process that waits long for a connection."""
    async with _wired(world, connect_timeout_s=PATIENCE_S) as wired:
        yield wired


@asynccontextmanager
async def _wired(world: World, connect_timeout_s: float) -> AsyncIterator[Wired]:
    url = make_url(world.urls.database)
    link = await link_to_postgres(url)
    led = through(link, url).render_as_string(hide_password=False)
    other = World(replace(world.urls, database=led), world.prefix)
    wired = Wired(await other.process(database={"connect_timeout_s": connect_timeout_s}), link)
    # Several connections, all of them idle.
    await asyncio.gather(*(wired.process.apply() for _ in range(3)))
    yield wired
    link.cut()
    await other.close()
    await link.close()


@race("pooled connections asked first")
async def test_a_postgres_that_is_silent_does_not_keep_changes_waiting(world: World, wired: Wired) -> None:
    """Row 38. A pooled connection is asked before anything is on it, and given up soon."""
    await world.warmed()
    wired.link.silence()
    await world.write("v2")
    async with patience("the event was not applied", IN_VAIN_S):
        assert await applies(wired.process) == 1
    await world.must_show("v2")


@race("no connection of a dead server's time trusted")
async def test_connections_of_a_postgres_that_is_silent_are_not_asked_one_by_one(
    wired: Wired,
) -> None:
    """Row 38. The first one that does not answer discards all others as old as it."""
    wired.link.silence()
    async with wired.process.stoker.engine.connect():
        pass
    asked = wired.link.count(b"SELECT\0")
    await asyncio.gather(*(wired.process.apply() for _ in range(3)))
    never("silent connections are asked one by one", happened=asked.count > 1)


@race("pooled connections asked first")
async def test_a_postgres_that_is_silent_does_not_hide_a_dead_worker(world: World, wired: Wired) -> None:
    """Row 38. The breaker's question reaches the successor, and so finds the event."""
    breaker = (await world.warmed(wired.process)).stoker.cache.breaker
    await world.write("v2")
    await world.sql("UPDATE stoker.cache_events SET recorded_at = recorded_at - interval '1 minute'")
    wired.link.silence()
    async with patience("the breaker did not finish its check", IN_VAIN_S):
        await breaker.check()
    never("it knows of no event", happened=not breaker.open)


@race("receipts that end", "applied here if nobody can tell")
async def test_a_postgres_that_is_silent_does_not_hold_a_removal(
    world: World, patient: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 39. Its receipt cannot say whether it is applied; it is applied here."""
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    await world.warmed()
    ours = patient.process.stoker
    async with ours.session() as session:
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        ours.record(session, NoteDeleted(note_id=1, readers=(1, 2)))
        events = await ours._parts.outbox.recorded_in(session)
        await session.commit()
    patient.link.freeze()
    async with patience("the writer waits for an answer", IN_VAIN_S):
        with no_error():
            await stoker.revocation.take_effect(ours._parts, events, ours.unlink)
    await world.must_show("v2")


@race("short questions that end")
async def test_a_postgres_that_is_silent_does_not_hold_the_watch(
    patient: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 38. It checks again later, and keeps its state until then."""
    monkeypatch.setattr(stoker.postgres.questions, "QUESTION_S", QUICKLY_S)
    patient.link.freeze()
    async with patience("the breaker waits for an answer", IN_VAIN_S):
        await patient.process.stoker.cache.breaker.check()
    assert not patient.process.stoker.cache.breaker.open


@race("statements that end")
async def test_a_statement_without_an_end_does_not_hold_its_caller(world: World) -> None:
    """Row 38. Silent in the middle of a transaction: the statement's own limit."""
    process = await world.process(database={"command_timeout_s": QUICKLY_S})
    async with patience("the statement did not end", 5 * QUICKLY_S):
        with pytest.raises(DatabaseUnavailable):
            async with process.stoker.session() as session:
                await session.execute(text("SELECT pg_sleep(60)"))


@race("pooled connections asked first", "last words of a server heard")
async def test_a_postgres_that_has_said_its_last_words_does_not_fail_who_asks_next(
    world: World, wired: Wired
) -> None:
    """Row 27. An idle connection has received the server's last message but not yet the end of stream."""
    await world.warmed()
    await world.write("v2")
    wired.link.say(LAST_WORDS)
    await world.must_show("v1")  # round trips: the words have arrived by then
    assert await applies(wired.process) == 1
    await world.must_show("v2")


COMMIT = b"COMMIT"


async def _write_through(process: Process) -> tuple[Receipt, BaseException | None]:
    """A change whose commit may raise; what its writer has then."""
    try:
        async with process.stoker.session() as session:
            await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
            receipt = process.stoker.record(session, NoteChanged(note_id=1))
            await session.commit()
    except (DatabaseUnavailable, asyncio.CancelledError) as error:
        return receipt, error
    return receipt, None


@race("asking what became of a commit")
async def test_a_commit_whose_answer_was_lost_is_not_said_to_be_rolled_back(
    world: World, wired: Wired
) -> None:
    """Row 25. The event is in the table, where its receipt finds it."""
    wired.link.lose_reply(COMMIT)
    receipt, error = await _write_through(wired.process)
    assert isinstance(error, DatabaseUnavailable)
    said = await receipt.applied(timedelta(0))
    never("what is committed is said to be rolled back", happened=said is Applied.ROLLED_BACK)
    assert said is Applied.PENDING
    await wired.process.apply()
    assert await receipt.applied() is Applied.APPLIED
    assert receipt.event_id > 0
    await world.must_show("v2")


@race()
async def test_a_commit_that_never_arrived_is_not_said_to_be_pending(world: World, wired: Wired) -> None:
    """Row 25. As above, and nothing is there: Postgres has given the transaction up."""
    held = wired.link.hold_request(COMMIT)
    writing = world.begin(_write_through(wired.process))
    await held.reached.wait()
    wired.link.cut()
    receipt, error = await writing
    assert isinstance(error, DatabaseUnavailable)
    wired.link.mend()
    assert await receipt.applied() is Applied.ROLLED_BACK
    assert await world.first.apply() == 0


@race()
async def test_a_commit_that_is_still_on_its_way_is_not_called_one_or_the_other(
    world: World, wired: Wired
) -> None:
    """Row 25. Its writer was cancelled, and its transaction is open: a query alone would find no row."""
    held = wired.link.hold_request(COMMIT)
    writing = world.begin(_write_through(wired.process))
    await held.reached.wait()
    writing.cancel()
    receipt, error = await writing
    assert isinstance(error, asyncio.CancelledError)
    assert await receipt.applied(timedelta(0)) is Applied.UNKNOWN
    held.release()
    async with patience("nobody can tell"):
        while (said := await receipt.applied(timedelta(0))) is Applied.UNKNOWN:
            pass
    assert said is Applied.PENDING
