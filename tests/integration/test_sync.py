"""SyncStoker: threads, forks, sessions and connections of synchronous code, on real servers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import stoker.revocation
from stoker import (
    Applied,
    Asked,
    Forbidden,
    Invalidation,
    NotFound,
    Refresh,
    State,
    Stoker,
    StokerError,
    SyncStoker,
    WrongServer,
)
from stoker.testing import apply
from tests.support.notes import MemberRemoved, NoteChanged, Notes, note, write_notes
from tests.support.place import Place
from tests.support.programs import program

FORKS = Path(__file__).parents[1] / "support" / "forking.py"


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def sync(place: Place, notes: Notes) -> Iterator[SyncStoker]:
    """Five notes that reader 7 may read."""
    with SyncStoker(place.settings(), notes.domain) as sync:
        sync.call(_written)
        yield sync


async def _written(stoker: Stoker) -> None:
    async with AsyncSession(stoker.engine) as session, session.begin():
        await write_notes(session, 5)


@pytest.fixture
def engine(place: Place) -> Iterator[Engine]:
    """The application's own, synchronous."""
    engine = create_engine(make_url(place.database_url).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()


def plain(place: Place, **options: bool) -> psycopg.Connection:
    url = make_url(place.database_url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), **options)  # type: ignore[arg-type]


def test_many_threads_read_through_one_loop(sync: SyncStoker, notes: Notes) -> None:
    before = threading.active_count()

    def read(number: int) -> object:
        return sync.read("detail", number % 5 + 1, reader=7).value

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(read, range(400)))
    assert found == [{"body": "v1"}] * 400
    assert notes.loads["detail"] <= 5
    assert threading.active_count() <= before + 1
    assert sync.read("detail", 1, reader=7).state is State.HIT
    [one, other] = sync.read_many([Asked("detail", 1), Asked("detail", 99)], reader=7)
    assert isinstance(other, NotFound)
    assert not isinstance(one, StokerError)
    with pytest.raises(Forbidden):
        sync.read("detail", 1, reader=8)


@pytest.mark.parametrize("scoped", [False, True])
def test_a_session_records_and_its_change_is_followed(
    sync: SyncStoker,
    engine: Engine,
    scoped: bool,  # noqa: FBT001 - a parameter
) -> None:
    session = scoped_session(sessionmaker(engine)) if scoped else Session(engine)
    sync.read("detail", 1, reader=7)
    session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
    receipt = sync.record(session, NoteChanged(note_id=1))
    job = sync.enqueue_in(session, Refresh(view="detail", scope_id=1))
    session.commit()
    session.close()
    assert receipt.applied(timedelta(0)) is Applied.PENDING
    assert sync.call(apply) == 1
    assert (receipt.applied(), receipt.event_id > 0) == (Applied.APPLIED, True)
    assert sync.read("detail", 1, reader=7).value == {"body": "v2"}
    assert sync.progress(job) is None
    assert sync.enqueue(Refresh(view="detail", scope_id=2)).job_id
    assert len(sync.enqueue_many([Refresh(view="detail", scope_id=3)])) == 1
    sync.invalidate_now([Invalidation(note(1))])
    assert sync.read("detail", 1, reader=7).state is State.MISS


def test_a_right_is_taken_away_by_one_call(
    sync: SyncStoker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    sync.read("detail", 1, reader=7)
    with Session(engine) as session:
        session.execute(text("DELETE FROM note_members WHERE note_id = 1"))
        sync.record(session, MemberRemoved(note_id=1, reader_id=7))
        sync.commit_revocation(session)
    with pytest.raises(Forbidden):
        sync.read("detail", 1, reader=7)


def test_a_call_from_a_running_loop_is_refused_and_does_not_hang(
    sync: SyncStoker, engine: Engine, notes: Notes
) -> None:
    async def view() -> None:
        with Session(engine) as session:
            for call in (
                lambda: sync.read("detail", 1, reader=7),
                lambda: sync.enqueue(Refresh(view="detail", scope_id=1)),
                lambda: sync.commit_revocation(session),
                sync.close,
                SyncStoker(domain=notes.domain).open,
            ):
                with pytest.raises(StokerError, match="in a thread that runs an event loop"):
                    call()
        found = await asyncio.to_thread(sync.read, "detail", 1, reader=7)
        assert found.value == {"body": "v1"}

    asyncio.run(view())

    async def loader(_: object) -> None:
        sync.read("detail", 1, reader=7)

    with pytest.raises(StokerError, match="runs an event loop"):  # its own loop would wait for itself
        sync.call(loader)


def test_after_close_the_next_call_opens_it_again(sync: SyncStoker) -> None:
    for _ in range(2):
        sync.close()
        assert sync.read("detail", 1, reader=7).value == {"body": "v1"}


def test_a_call_that_is_interrupted_is_cancelled(sync: SyncStoker) -> None:
    cancelled = threading.Event()

    async def hang(_: object) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    started = threading.Event()

    async def interrupt(stoker: object) -> None:
        started.set()
        await hang(stoker)

    def raise_in_main() -> None:
        started.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=raise_in_main).start()
    with pytest.raises(KeyboardInterrupt):
        sync.call(interrupt)
    assert cancelled.wait(30)
    assert sync.read("detail", 1, reader=7).value == {"body": "v1"}


def test_a_plain_connection_records_in_its_transaction(sync: SyncStoker, place: Place) -> None:
    sync.read("detail", 1, reader=7)
    with plain(place) as connection:
        connection.execute("UPDATE notes SET body = 'v2' WHERE id = 1")
        receipt = sync.record_on(connection, NoteChanged(note_id=1))
        with pytest.raises(StokerError, match="has not committed"):
            receipt.take_effect()
        assert receipt.applied(timedelta(0)) is Applied.UNKNOWN
    assert receipt.applied(timedelta(0)) is Applied.PENDING
    assert sync.call(apply) == 1
    assert receipt.applied() is Applied.APPLIED
    assert sync.read("detail", 1, reader=7).value == {"body": "v2"}


def test_what_a_plain_connection_rolls_back_was_never_recorded(sync: SyncStoker, place: Place) -> None:
    with plain(place) as connection:
        receipt = sync.record_on(connection, NoteChanged(note_id=1))
        connection.rollback()
    assert receipt.applied() is Applied.ROLLED_BACK
    assert sync.call(apply) == 0


def test_a_connection_that_commits_each_statement_is_refused(sync: SyncStoker, place: Place) -> None:
    with plain(place, autocommit=True) as connection:
        with pytest.raises(
            StokerError, match=r"record inside transaction\.atomic\(\), or with autocommit off"
        ):
            sync.record_on(connection, NoteChanged(note_id=1))
        with connection.transaction():
            sync.record_on(connection, NoteChanged(note_id=1))
    assert sync.call(apply) == 1


def test_a_connection_to_another_database_is_refused(sync: SyncStoker, place: Place) -> None:
    with plain(place) as connection:
        connection.execute("SAVEPOINT before")
        connection.execute("UPDATE stoker.installation SET id = 'another'")
        with pytest.raises(WrongServer, match="its installation is another one"):
            sync.record_on(connection, NoteChanged(note_id=1))
        connection.execute("ROLLBACK TO before")
        connection.execute("DROP SCHEMA stoker CASCADE")
        with pytest.raises(WrongServer, match="does not exist"):
            sync.record_on(connection, NoteChanged(note_id=1))
        connection.rollback()


def test_a_removal_that_somebody_else_committed_takes_effect(
    sync: SyncStoker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    sync.read("detail", 1, reader=7)
    with Session(engine) as session, session.begin():
        session.execute(text("DELETE FROM note_members WHERE note_id = 1"))
        receipt = sync.record(session, MemberRemoved(note_id=1, reader_id=7))
    receipt.take_effect()
    with pytest.raises(Forbidden):
        sync.read("detail", 1, reader=7)


async def test_forks_before_and_after_the_first_use_work(place: Place) -> None:
    """A parent and its children, in a process of their own; see tests/support/forking.py."""
    async with program(
        FORKS.parents[2],
        sys.executable,
        "-W",
        "error::RuntimeWarning",
        "-m",
        "tests.support.forking",
        **place.environment(),
    ) as forks:
        assert await forks.ended() == 0, "".join(forks.lines)
        said = [json.loads(line) for line in forks.lines]
    assert said == [
        {"who": "child forked before", "states": ["miss", "hit"]},
        {"who": "parent", "states": ["hit", "hit"]},
        *({"who": "child forked after", "states": ["hit"] * 50} for _ in range(4)),
        {"who": "parent again", "states": ["hit"] * 50},
        {"who": "rung", "relays": 1},
    ]
