"""What a loader may do, and what each of it means for the reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import (
    Access,
    Asked,
    DatabaseUnavailable,
    DeclarationError,
    Domain,
    EntryKey,
    Forbidden,
    Invalidation,
    NotFound,
    Reading,
    ScopeKind,
    State,
    Stoker,
    StokerError,
    View,
)
from stoker.cache.reading import Miss
from stoker.postgres import application_engine, loader_engine
from tests.support.notes import Notes, note, write_notes
from tests.support.place import Place


@pytest.fixture
def notes() -> Notes:
    return Notes()


@asynccontextmanager
async def opened(notes: Notes, place: Place, **tables: Any) -> AsyncIterator[Stoker]:  # noqa: ANN401 - settings
    settings = place.settings(cache={"near_bytes": 0, "timeout_s": 30}, **tables)
    async with Stoker.opened(settings, notes.domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 5)
        yield stoker


@pytest.fixture
async def stoker(notes: Notes, place: Place) -> AsyncIterator[Stoker]:
    async with opened(notes, place) as stoker:
        yield stoker


@pytest.fixture
async def hasty(notes: Notes, place: Place) -> AsyncIterator[Stoker]:
    """One whose loaders have next to no time."""
    async with opened(notes, place, loaders={"statement_timeout_s": 0.2}) as stoker:
        yield stoker


async def test_a_loader_that_raises_raises_to_its_reader_and_leaves_nothing(
    stoker: Stoker, notes: Notes
) -> None:
    notes.failing["detail"] = ZeroDivisionError("of the adopter")
    with pytest.raises(ZeroDivisionError):
        await stoker.read("detail", 1, reader=7)
    del notes.failing["detail"]
    assert (await stoker.read("detail", 1, reader=7)).state is State.MISS  # its lease was given back


async def test_a_loader_that_hangs_is_ended(hasty: Stoker, notes: Notes) -> None:
    notes.hold_before("detail")
    with pytest.raises(DatabaseUnavailable, match=r"took over 0\.3 s"):
        await hasty.read("detail", 1, reader=7)


async def test_a_loader_that_finds_nothing_means_not_found_and_nothing_is_kept(stoker: Stoker) -> None:
    with pytest.raises(NotFound):
        await stoker.read("detail", 99, reader=7)
    async with stoker.session() as session, session.begin():
        await session.execute(text("INSERT INTO notes VALUES (99, 'new')"))
        await session.execute(text("INSERT INTO note_members VALUES (99, 7)"))
    assert (await stoker.read("detail", 99, reader=7)).value == {"body": "new"}


async def test_a_query_that_is_wrong_is_the_loaders_own_error(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text("ALTER TABLE notes RENAME COLUMN body TO text"))
    with pytest.raises(Exception, match="body"):
        await stoker.read("detail", 1, reader=7)


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x80\x04pickle", b"ST\x01\x00" + b"\0" * 500])
async def test_damaged_and_foreign_bytes_are_counted_misses(
    stoker: Stoker, cache_url: str, damage: bytes
) -> None:
    await stoker.read("detail", 1, reader=7)
    name = stoker.cache.store.keys.entry(EntryKey("detail", note(1))).entry
    async with Redis.from_url(cache_url) as redis:
        stored: bytes = await redis.get(name)
        for bytes_ in (damage, stored[:-1], stored[:60], stored + b"x"):
            await redis.set(name, bytes_)
            reading = await stoker.read("detail", 1, reader=7)
            assert reading.state is State.MISS
            assert reading.cause in (Miss.UNREADABLE, Miss.FORGED)
            assert reading.value == {"body": "v1"}
    assert (await stoker.read("detail", 1, reader=7)).state is State.HIT


async def test_the_entry_of_another_key_is_not_served(stoker: Stoker, cache_url: str) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'secret' WHERE id = 2"))
    await stoker.read("detail", 1, reader=7)
    await stoker.read("detail", 2, reader=7)
    keys = stoker.cache.store.keys
    one, other = keys.entry(EntryKey("detail", note(1))), keys.entry(EntryKey("detail", note(2)))
    redis = Redis.from_url(cache_url)
    for name in ("stamp", "hard", "entry"):
        await redis.copy(getattr(other, name), getattr(one, name), replace=True)
    await redis.aclose()
    assert (await stoker.read("detail", 1, reader=7)).value == {"body": "v1"}


async def test_many_reads_are_answered_each_for_itself(stoker: Stoker, notes: Notes) -> None:
    await stoker.read("detail", 1, reader=7)
    asked = [
        Asked("detail", 1),
        Asked("detail", 2),
        Asked("summary", 2),
        Asked("detail", 99),
        Asked("nothing", 1),
        Asked("mine", 7),
        Asked("mine", 8),
    ]
    loads = dict(notes.loads)
    answers: list[Reading | StokerError] = await stoker.read_many(asked, reader=7)
    kinds = [answer.state if isinstance(answer, Reading) else type(answer).__name__ for answer in answers]
    assert kinds == [State.HIT, State.MISS, State.MISS, "NotFound", "UnknownView", State.MISS, "Forbidden"]
    assert notes.loads["detail"] == loads["detail"] + 1

    assert all(
        one.state is State.HIT
        for one in await stoker.read_many(asked[:3], reader=7)
        if isinstance(one, Reading)
    )
    assert notes.loads["detail"] == loads["detail"] + 1
    strangers = await stoker.read_many(asked[:2], reader=8)
    assert all(isinstance(answer, Forbidden) for answer in strangers)


async def test_a_batch_of_something_else_is_refused(stoker: Stoker) -> None:
    pair: Any = ("detail", 1)
    with pytest.raises(DeclarationError, match=r"read_many takes Asked\(view, scope_id, \.\.\.\)"):
        await stoker.read_many([pair], reader=7)


async def test_many_misses_of_a_view_are_one_load(stoker: Stoker, notes: Notes) -> None:
    answers = await stoker.read_many([Asked("detail", n) for n in range(1, 6)], reader=7)
    assert all(isinstance(answer, Reading) and answer.state is State.MISS for answer in answers)
    assert (notes.loads["detail"], notes.loads["access"]) == (1, 1)


async def test_a_page_and_the_right_to_it_are_built_side_by_side_when_both_are_outdated(
    stoker: Stoker, notes: Notes
) -> None:
    await stoker.read("detail", 1, reader=7)
    await stoker.invalidate_now([Invalidation(note(1), frozenset({"detail", "access"}))])
    right, page = notes.hold_before("access"), notes.hold_before("detail")
    reading = asyncio.create_task(stoker.read("detail", 1, reader=7))
    async with asyncio.timeout(10):
        await asyncio.gather(right.reached.wait(), page.reached.wait())
    page.release()
    done, _ = await asyncio.wait((reading,), timeout=0.1)
    assert not done, "nothing is answered before the right is known"
    right.release()
    assert (await reading).value["body"] == "v1"


async def test_nothing_is_built_for_a_stranger_who_guesses_ids(stoker: Stoker, notes: Notes) -> None:
    for note_id in (1, 99):
        with pytest.raises((Forbidden, NotFound)):
            await stoker.read("detail", note_id, reader="a stranger")
    assert "detail" not in notes.loads


async def test_a_loader_reads_one_snapshot_and_writes_nothing(stoker: Stoker) -> None:
    engine = loader_engine(stoker.settings)
    bodies = text("SELECT body FROM notes WHERE id = 1")
    for _ in range(2):  # a connection that is new, and one that was used before
        async with engine.connect() as connection:
            before = await connection.scalar(bodies)
            async with stoker.session() as session, session.begin():
                await session.execute(text("UPDATE notes SET body = body || '+' WHERE id = 1"))
            assert await connection.scalar(bodies) == before
            with pytest.raises(DBAPIError, match="read-only transaction"):
                await connection.execute(text("DELETE FROM notes"))
    await engine.dispose()


async def test_a_loads_connection_is_free_again_and_in_no_transaction(stoker: Stoker) -> None:
    busy = text("""
        SELECT count(*) FROM pg_stat_activity
         WHERE application_name = 'stoker loader' AND datname = current_database() AND state <> 'idle'
    """)
    await stoker.read("detail", 1, reader=7)
    async with asyncio.timeout(10), stoker.session() as session:
        while await session.scalar(busy):
            await session.rollback()


async def test_the_connection_that_came_back_last_goes_out_first(stoker: Stoker) -> None:
    backend = text("SELECT pg_backend_pid()")
    for engine in (loader_engine(stoker.settings), application_engine(stoker.settings)):
        async with engine.connect() as first, engine.connect():
            last = await first.scalar(backend)
        for _ in range(3):
            async with engine.connect() as connection:
                assert await connection.scalar(backend) == last
        await engine.dispose()


async def test_a_loaders_connection_plans_a_statement_once(stoker: Stoker) -> None:
    engine = loader_engine(stoker.settings)
    ids = text("SELECT id FROM notes WHERE id = ANY(CAST(:ids AS bigint[]))")
    plans = text("""
        SELECT generic_plans, custom_plans
          FROM pg_prepared_statements WHERE statement LIKE 'SELECT id FROM notes%'
    """)
    async with engine.connect() as connection:
        for number in range(4):
            await connection.execute(ids, {"ids": [number]})
        assert [tuple(row) for row in await connection.execute(plans)] == [(4, 0)]
    await engine.dispose()


async def test_very_many_reads_are_looked_up_in_groups(
    stoker: Stoker, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.cache.batch.AT_ONCE", 2)
    asked = [Asked("detail", n) for n in (1, 2, 99, 3, 4)]
    answers = await stoker.read_many(asked, reader=7)
    assert [type(answer).__name__ for answer in answers] == [
        "Reading",
        "Reading",
        "NotFound",
        *["Reading"] * 2,
    ]
    assert len({one.content for one in answers if isinstance(one, Reading)}) == 4
    assert notes.loads["detail"] == 3


async def test_a_body_that_is_too_large_to_be_read_again_is_not_kept(
    stoker: Stoker, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.cache.fill.LARGEST_BODY_BYTES", 5)
    for _ in range(2):
        reading = await stoker.read("detail", 1, reader=7)
        assert (reading.state, "body" in reading.value) == (State.MISS, True)
    assert notes.loads["detail"] == 2


async def test_a_reader_that_leaves_cancels_nobody(stoker: Stoker, notes: Notes) -> None:
    held = notes.hold_before("summary")
    leaving = asyncio.create_task(stoker.read("summary", 1, reader=7))
    await held.reached.wait()
    staying = asyncio.create_task(stoker.read("summary", 1, reader=7))
    leaving.cancel()
    held.release()
    assert (await staying).value == {"length": 2}
    assert notes.loads["summary"] == 1


async def test_a_statement_that_takes_too_long_is_not_tried_again(
    hasty: Stoker, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Postgres ends the statement; on a busy machine the limit of the whole load could come first.
    monkeypatch.setattr(hasty.cache.filler.loads, "_limit_s", 60)
    async with hasty.session() as session, session.begin():
        await session.execute(text("ALTER TABLE notes RENAME TO slow_notes"))
        await session.execute(text("CREATE VIEW notes AS SELECT id, body FROM slow_notes, pg_sleep(60)"))
    with pytest.raises(DatabaseUnavailable, match="a statement of detail took too long"):
        await hasty.read("detail", 1, reader=7, bypass=True)
    assert notes.loads["detail"] == 1


async def test_loaders_that_write_or_answer_for_other_keys_are_told_so_and_leave_nothing(
    place: Place,
) -> None:
    async def writes(session: AsyncSession, keys: Sequence[EntryKey]) -> dict[EntryKey, int]:
        await session.execute(text("UPDATE notes SET body = 'seen'"))
        return dict.fromkeys(keys, 1)

    async def locks(session: AsyncSession, keys: Sequence[EntryKey]) -> dict[EntryKey, int]:
        await session.execute(text("SELECT FROM notes FOR UPDATE"))
        return dict.fromkeys(keys, 1)

    async def by_number(_: AsyncSession, keys: Sequence[EntryKey]) -> Any:  # noqa: ANN401 - a mistake
        return {key.scope.number: 1 for key in keys}

    loaders = {"writes": writes, "locks": locks, "by_number": by_number}
    kind = ScopeKind("note")
    views = tuple(View(name, kind, load, access=Access.ANYONE) for name, load in loaders.items())
    async with Stoker.opened(
        place.settings(), Domain(name="d", scopes=(kind,), views=views, rules=())
    ) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 1)
        for name in ("writes", "locks"):
            with pytest.raises(
                DeclarationError, match=f"the loader of view {name} writes or locks rows: a load"
            ):
                await stoker.read(name, 1)
        for bypass in (False, True):
            with pytest.raises(
                DeclarationError, match="of view by_number answered for 1, which was not asked"
            ):
                await stoker.read("by_number", 1, bypass=bypass)
        [answer] = await stoker.read_many([Asked(views[2], 1)])
        assert isinstance(answer, DeclarationError)


async def test_an_access_view_that_holds_no_roles_is_told_so(place: Place) -> None:
    async def members(_: AsyncSession, keys: Sequence[EntryKey]) -> Any:  # noqa: ANN401 - a mistake
        return {key: ["ann", "bob"] for key in keys}

    kind = ScopeKind("note")
    access = View("members", kind, members, access=Access.ANYONE)
    views = (access, View("page", kind, members, access_view=access))
    async with Stoker.opened(place.settings(), Domain(name="d", scopes=(kind,), views=views)) as stoker:
        for bypass in (False, False, True):  # nothing kept, kept, without the cache
            with pytest.raises(DeclarationError, match="the access view members holds a list for note:1: "):
                await stoker.read("page", 1, reader="ann", bypass=bypass)


async def test_closing_after_a_refused_read_logs_no_traceback(
    place: Place, notes: Notes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(notes, place) as stoker:
        await stoker.read("detail", 1, reader=7)
        await stoker.invalidate_now([Invalidation(note(1), frozenset({"detail", "access"}))])
        held = notes.hold_before("detail")
        with pytest.raises(Forbidden):
            await stoker.read("detail", 1, reader=8)
        await held.reached.wait()
    assert "Traceback" not in capfd.readouterr().err
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
