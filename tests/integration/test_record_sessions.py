"""Which sessions an event can be recorded in: of any engine of Stoker's database, of no other database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from stoker import Applied, DeclarationError, Domain, Event, Invalidation, Rule, Scope, Stoker, WrongServer
from stoker.handlers.relay import apply_all
from tests.support.databases import Clones
from tests.support.notes import NoteChanged, Notes, note, write_notes
from tests.support.place import Place


class Base(DeclarativeBase):
    """The application's models."""


class Written(Base):
    """One of them."""

    __tablename__ = "written"
    id: Mapped[int] = mapped_column(primary_key=True)


class Typo(Event):
    """An event whose rule names a view with a typing error."""

    kind = "note.typo"
    note_id: int


def domain() -> Domain:
    notes = Notes().domain
    rule = Rule(Typo, lambda event: [Invalidation(note(event.note_id), {"detial"})])
    return Domain(name="notes", scopes=notes.scopes, views=notes.views, rules=(*notes.rules, rule))


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), domain()) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 2)
        yield stoker


@pytest.fixture
def sync_engine(place: Place) -> Iterator[Engine]:
    engine = create_engine(place.database_url.replace("+asyncpg", "+psycopg"))
    yield engine
    engine.dispose()


@asynccontextmanager
async def disposed(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
async def own_engine(place: Place) -> AsyncIterator[AsyncEngine]:
    """Another engine of the same database."""
    async with disposed(create_async_engine(place.database_url)) as engine:
        yield engine


@pytest.fixture
async def other_engine(place: Place, clones: Clones) -> AsyncIterator[AsyncEngine]:
    """An engine of another database that has a Stoker of its own."""
    url = make_url(place.database_url).set(database=clones.take()).render_as_string(hide_password=False)
    async with disposed(create_async_engine(url)) as engine:
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE stoker.installation SET id = 'another'"))
        yield engine


def statements(engine: Engine) -> list[str]:
    """What is sent through an engine from now on."""
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    return sent


async def events_in(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM stoker.cache_events"))).scalar_one())


async def test_a_session_of_another_database_is_refused_and_commits_nothing(
    stoker: Stoker, other_engine: AsyncEngine
) -> None:
    async with AsyncSession(other_engine) as session:
        await session.execute(text("CREATE TABLE written (id int)"))
        receipt = stoker.record(session, NoteChanged(note_id=1))
        with pytest.raises(WrongServer, match=r"another database than Stoker's \(its installation is"):
            await session.commit()
        await session.rollback()
        assert await receipt.applied() is Applied.ROLLED_BACK
        assert await session.scalar(text("SELECT to_regclass('written') IS NULL"))
    assert await events_in(other_engine) == 0


async def test_once_an_engine_is_known_to_lead_elsewhere_record_itself_refuses(
    stoker: Stoker, other_engine: AsyncEngine
) -> None:
    async with AsyncSession(other_engine) as session:
        stoker.record(session, NoteChanged(note_id=1))
        with pytest.raises(WrongServer, match="record the event in a session of the database that"):
            await session.flush()
    with pytest.raises(WrongServer):
        stoker.record(AsyncSession(other_engine), NoteChanged(note_id=1))
    async with AsyncSession(other_engine) as session, session.begin():
        await session.execute(text("SELECT 1"))
        with pytest.raises(WrongServer):
            stoker.record(session, NoteChanged(note_id=1))
    async with (
        AsyncSession(other_engine) as session,
        session.begin(),
    ):  # what records nothing is nobody's business
        await session.execute(text("CREATE TABLE written (id int)"))


async def test_a_database_without_stokers_tables_and_one_that_is_no_postgres_are_refused(
    stoker: Stoker, other_engine: AsyncEngine
) -> None:
    async with other_engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA stoker CASCADE"))
    async with AsyncSession(other_engine) as session:
        stoker.record(session, NoteChanged(note_id=1))
        with pytest.raises(WrongServer, match=r"does not exist\): record the event"):
            await session.commit()
    with Session(create_engine("sqlite://")) as lite, pytest.raises(WrongServer, match="it is of sqlite"):
        stoker.record(lite, NoteChanged(note_id=1))


async def test_another_engine_of_the_same_database_is_asked_once(
    stoker: Stoker, own_engine: AsyncEngine
) -> None:
    sent = statements(own_engine.sync_engine)
    for number in range(3):
        async with AsyncSession(own_engine) as session, session.begin():
            receipt = stoker.record(session, NoteChanged(note_id=number))
    assert [statement.split()[0] for statement in sent] == ["SELECT", "INSERT", "INSERT", "INSERT"]
    with_options = own_engine.execution_options(yield_per=5)
    async with AsyncSession(with_options) as session, session.begin():
        stoker.record(session, NoteChanged(note_id=9))
    async with own_engine.begin() as connection, AsyncSession(connection) as session:
        stoker.record(session, NoteChanged(note_id=9))
        await session.commit()
    assert sum("installation" in statement for statement in sent) == 1
    assert await apply_all(stoker) == 5
    assert await receipt.applied() is Applied.APPLIED


async def test_stokers_own_engine_is_not_asked(stoker: Stoker) -> None:
    sent = statements(stoker.engine.sync_engine)
    async with stoker.session() as session, session.begin():
        stoker.record(session, NoteChanged(note_id=1))
    assert [statement.split()[0] for statement in sent] == ["INSERT"]


async def test_an_event_that_a_listener_records_while_the_session_commits_is_checked_as_well(
    stoker: Stoker, other_engine: AsyncEngine
) -> None:
    async with other_engine.begin() as connection:
        await connection.run_sync(Written.metadata.create_all)
    async with AsyncSession(other_engine) as session:
        session.add(Written(id=1))

        @event.listens_for(session.sync_session, "before_flush")
        def _record(flushing: Session, *_: object) -> None:
            stoker.record(flushing, NoteChanged(note_id=1))

        with pytest.raises(WrongServer):
            await session.commit()
    assert await events_in(other_engine) == 0


async def test_async_scoped_sessions_record(stoker: Stoker) -> None:
    scoped = async_scoped_session(async_sessionmaker(stoker.engine), asyncio.current_task)
    async with scoped.begin():
        receipt = stoker.record(scoped, NoteChanged(note_id=1))
    await scoped.remove()
    assert await apply_all(stoker) == 1
    assert await receipt.applied() is Applied.APPLIED


async def test_scoped_sessions_record_in_the_session_of_their_thread(
    stoker: Stoker, sync_engine: Engine
) -> None:
    scoped = scoped_session(sessionmaker(sync_engine))

    def write() -> int:
        scoped.execute(text("UPDATE notes SET body = 'v2'"))
        receipt = stoker.record(scoped, NoteChanged(note_id=1))
        scoped.commit()
        scoped.remove()
        return receipt.event_id

    both = await asyncio.gather(asyncio.to_thread(write), asyncio.to_thread(write))
    assert len(set(both)) == 2
    assert await apply_all(stoker) == 2


@pytest.mark.parametrize("scoped", [False, True])
async def test_a_rule_that_names_an_unknown_view_is_refused_by_record(
    stoker: Stoker, *, scoped: bool
) -> None:
    async with stoker.session() as session, session.begin():
        where: Any = async_scoped_session(lambda: session, lambda: 1) if scoped else session  # type: ignore[arg-type]
        with pytest.raises(
            DeclarationError, match=r"the rule for 'note\.typo' names 'detial', which is no view"
        ):
            stoker.record(where, Typo(note_id=1))
    assert await events_in(stoker.engine) == 0


async def test_invalidations_by_hand_are_checked_as_well(stoker: Stoker) -> None:
    with pytest.raises(
        DeclarationError, match="invalidate_now names scope kind 'nota', which the domain does"
    ):
        await stoker.invalidate_now([Invalidation(Scope("nota", "1"))])


async def test_a_session_without_an_engine_says_so(stoker: Stoker) -> None:
    with pytest.raises(InvalidRequestError, match="bind"):
        stoker.record(Session(), NoteChanged(note_id=1))
