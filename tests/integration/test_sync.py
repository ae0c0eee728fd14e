"""SyncStoker: threads, forks, sessions and connections of synchronous code, on real servers."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from redis import Redis
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
from stoker.cache.accounting import read_counters
from stoker.loop_thread import LoopThread
from stoker.redis.direct import DirectConnection
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


def test_it_has_the_methods_of_stoker() -> None:
    """Except those that make another Stoker or an asynchronous session."""
    others = {"opened", "for_reading", "session", "unlink"}
    public = {name for name in dir(Stoker) if not name.startswith("_")}
    assert public - set(dir(SyncStoker)) == others
    for name in public - others - {"open", "record", "enqueue_in", "applied", "commit_revocation"}:
        theirs, ours = (inspect.signature(getattr(one, name)) for one in (Stoker, SyncStoker))
        assert list(theirs.parameters) == list(ours.parameters), name


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


def test_who_waits_while_it_is_closed_is_told(sync: SyncStoker) -> None:
    begun = threading.Event()

    async def hang(_: object) -> None:
        begun.set()
        await asyncio.sleep(3600)

    waiting: Future[object] = Future()
    threading.Thread(target=lambda: _ended(waiting, lambda: sync.call(hang)), daemon=True).start()
    begun.wait()
    left = sync._open().loop
    sync.close()
    with pytest.raises(StokerError, match="was closed"):
        waiting.result(30)
    with pytest.raises(StokerError, match="was closed"):
        left.call(hang(None))  # as a thread that has found it open, a moment before


def _ended(waiting: Future[object], call: Callable[[], object]) -> None:
    try:
        waiting.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whatever it is
        waiting.set_exception(error)


def test_a_loader_that_would_end_the_process_does_not_end_the_loop(sync: SyncStoker) -> None:
    async def leave(_: object) -> None:
        sys.exit(3)

    with pytest.raises(SystemExit):
        sync.call(leave)
    assert sync.read("detail", 1, reader=7).value == {"body": "v1"}


@pytest.mark.parametrize("breaks", [False, True])
def test_a_connection_that_a_thread_uses_while_it_is_closed_is_closed_by_the_thread(
    sync: SyncStoker,
    monkeypatch: pytest.MonkeyPatch,
    breaks: bool,  # noqa: FBT001 - a parameter
) -> None:
    near(sync)
    [connection] = sync._open().direct._free
    replies = DirectConnection._replies

    def closed_meanwhile(self: DirectConnection, packed: bytes, count: int) -> list[Any]:
        found = replies(self, packed, count)
        sync.close()
        if breaks:
            raise OSError
        return found

    monkeypatch.setattr(DirectConnection, "_replies", closed_meanwhile)
    assert sync.read("detail", 1, reader=7).value == {"body": "v1"}
    assert connection._socket.fileno() == -1


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


def near(sync: SyncStoker) -> None:
    """Read note 1 until its process keeps it, and a thread has a connection of its own."""
    for _ in range(4):
        sync.read("detail", 1, reader=7)


@pytest.fixture
def no_loop(sync: SyncStoker, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is handed to the event loop from now on."""
    near(sync)
    handed: list[object] = []
    call = LoopThread.call

    def noted(self: LoopThread, work: Coroutine[Any, Any, object]) -> object:
        handed.append(work)
        return call(self, work)

    monkeypatch.setattr(LoopThread, "call", noted)
    return handed


def test_a_hit_of_what_is_kept_near_does_not_need_the_loop(sync: SyncStoker, no_loop: list[object]) -> None:
    reading = sync.read("detail", 1, reader=7)
    assert (reading.state, reading.value, reading.role) == (State.HIT, {"body": "v1"}, "reader")
    with pytest.raises(Forbidden, match="pass reader="):
        sync.read("detail", 1)
    assert no_loop == []
    with pytest.raises(Forbidden):
        sync.read("detail", 1, reader=8)  # SQL confirms it
    assert len(no_loop) == 1


def test_within_a_term_a_thread_asks_nobody(
    sync: SyncStoker, no_loop: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = sync._open().stoker.cache.store.lookup.terms
    terms.use(3600, terms.now_s() + 3600)
    sync.read("detail", 1, reader=7)  # asks once more, and finds it valid
    monkeypatch.setattr(DirectConnection, "ask", None)
    reading = sync.read("detail", 1, reader=7)
    assert (reading.state, reading.value, reading.role) == (State.HIT, {"body": "v1"}, "reader")
    assert no_loop == []


def test_a_threads_term_begins_with_its_question(sync: SyncStoker, monkeypatch: pytest.MonkeyPatch) -> None:
    near(sync)
    terms = sync._open().stoker.cache.store.lookup.terms
    now_s = terms.now_s()
    terms.use(1, now_s + 3600)
    late_s = [0.0]
    monkeypatch.setattr(terms, "now_s", lambda: now_s + late_s[0])
    ask = DirectConnection.ask

    def late(self: DirectConnection, packed: bytes) -> object:
        found = ask(self, packed)
        late_s[0] += 1
        return found

    monkeypatch.setattr(DirectConnection, "ask", late)
    for _ in range(2):
        assert sync.read("detail", 1, reader=7).state is State.HIT
    assert late_s == [2], "the second read asked, too: the term was over when the reply came"


def test_hits_of_threads_are_counted(sync: SyncStoker) -> None:
    near(sync)

    async def counted(stoker: Stoker) -> int:
        client, keys = stoker.cache.store.client, stoker.cache.store.keys
        await stoker.accounting.flush(client, keys)
        return (await read_counters(client, keys, ["detail"]))["detail"]["hits"]

    before = sync.call(counted)
    for _ in range(20):
        sync.read("detail", 1, reader=7)
    assert sync.call(counted) == before + 20


def test_a_thread_is_not_shown_what_was_before_a_change_or_a_removal(sync: SyncStoker) -> None:
    near(sync)

    async def change(stoker: Stoker) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
            stoker.record(session, NoteChanged(note_id=1))
        await apply(stoker)

    async def remove(stoker: Stoker) -> None:
        async with stoker.session() as session, session.begin():
            await session.execute(text("DELETE FROM note_members WHERE note_id = 1"))
            stoker.record(session, MemberRemoved(note_id=1, reader_id=7))
        await apply(stoker)

    sync.call(change)
    assert sync.read("detail", 1, reader=7).value == {"body": "v2"}
    near(sync)
    sync.call(remove)
    with pytest.raises(Forbidden):
        sync.read("detail", 1, reader=7)


def test_a_connection_that_breaks_under_a_thread_costs_nothing_but_time(
    sync: SyncStoker, no_loop: list[object], place: Place
) -> None:
    with Redis.from_url(place.cache_url) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)
    for _ in range(4):
        assert sync.read("detail", 1, reader=7).value == {"body": "v1"}
    handed = len(no_loop)
    assert sync.read("detail", 1, reader=7).state is State.HIT
    assert len(no_loop) == handed


def test_a_thread_does_not_stay_with_a_server_that_was_demoted(
    sync: SyncStoker, no_loop: list[object]
) -> None:
    direct = sync._open().direct
    [connection] = direct._free
    connection.lent.doubt()
    assert sync.read("detail", 1, reader=7).state is State.HIT
    assert no_loop == []  # it has confirmed itself
    connection.lent.doubt()
    connection.lent._reign = b"another"
    assert sync.read("detail", 1, reader=7).state is State.HIT
    assert len(no_loop) == 1
    assert connection not in direct._free


def test_a_reply_that_a_signal_left_unread_does_not_reach_the_next_read(
    sync: SyncStoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    near(sync)
    sync.read("detail", 2, reader=7)
    sync.read("detail", 2, reader=7)
    with monkeypatch.context() as patch:

        def interrupted(self: DirectConnection, packed: bytes, _count: int) -> list[Any]:
            self._socket.sendall(packed)
            raise KeyboardInterrupt

        patch.setattr(DirectConnection, "_replies", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sync.read("detail", 1, reader=7)
    assert not sync._open().direct._free
    for note_id in (2, 1, 2):
        assert sync.read("detail", note_id, reader=7).value == {"body": "v1"}


def test_an_open_breaker_keeps_threads_away_from_the_cache(sync: SyncStoker) -> None:
    near(sync)
    sync._open().stoker.cache.breaker.trip("a test says so")
    assert sync.read("detail", 1, reader=7).state is State.BYPASS


LOADING = ((0, os.getpid(), 1), (0, 0, 2))
"""worker_id, masterpid and numproc of uWSGI while it loads an application with --master, or --processes 2."""
FORKED = ((2, 1, 2), (0, 1, 2), (0, 0, 1))
"""The same in a worker, in a mule, and where nothing is forked."""


@pytest.mark.parametrize("told", [*LOADING, *FORKED])
def test_a_call_before_uwsgi_forks_is_refused_because_its_workers_would_hang(
    place: Place, notes: Notes, monkeypatch: pytest.MonkeyPatch, told: tuple[int, int, int]
) -> None:
    worker, master, processes = told
    uwsgi = SimpleNamespace(worker_id=lambda: worker, masterpid=lambda: master, numproc=processes)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    with closing(SyncStoker(place.settings(), notes.domain)) as sync:
        if told in LOADING:
            with pytest.raises(StokerError, match="before it forks"):
                sync.read("detail", 1, reader=7)
        else:
            sync.open()


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
        *({"who": "child forked by C", "states": ["hit"] * 50, "loops": 1} for _ in range(2)),
        {"who": "child that reads nothing"},
        {"who": "parent again", "states": ["hit"] * 50},
        {"who": "rung", "relays": 1},
    ]
