"""Migrating, reading, changing, requesting and capturing by way of a pooler, as a web app and a worker do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from stoker import Applied, Capture, Job, JobContext, Lane, State, Stoker
from stoker.captures.standing import State as Standing
from stoker.captures.standing import compare
from stoker.embedded.pgbouncer import PgBouncer
from stoker.handlers.relay import apply_all
from stoker.migrate import migrate, pending, renew_installation
from stoker.tables import SCHEMA
from stoker.worker.process import run_worker
from tests.library import BookAdded, ShelfRenamed
from tests.library import domain as library
from tests.support.databases import Databases
from tests.support.place import Place

STOKERS, SHELVES, ROUNDS = 4, 6, 4
PATIENCE = timedelta(seconds=30)


class Count(Job):
    kind = "library.count"
    lane = "counting"
    keep_result = timedelta(minutes=1)


async def count(context: JobContext, _job: Count) -> int:
    async with context.stoker.session() as session:
        return int(await session.scalar(text("SELECT count(*) FROM books")) or 0)


CAPTURE = Capture("books", BookAdded, {"shelf": "shelf_id"}, views=frozenset({"titles"}))
DOMAIN = replace(library, captures=(CAPTURE,), lanes=(Lane("counting"),), handlers={Count: count})


@pytest.fixture
async def stokers(pooled: Place) -> AsyncIterator[list[Stoker]]:
    """Several processes' worth of Stokers; the pooler has fewer connections than there are of them."""
    await migrate(pooled.database_url, DOMAIN)
    opened = [await Stoker.open(pooled.settings(cache={"near_bytes": 0}), DOMAIN) for _ in range(STOKERS)]
    async with opened[0].session() as session, session.begin():
        for shelf in range(SHELVES):
            await session.execute(
                text("INSERT INTO shelves (id, label) VALUES (:id, 'v0')"), {"id": f"s{shelf}"}
            )
    yield opened
    for stoker in opened:
        await stoker.close()


async def test_an_empty_database_is_migrated_again_and_again(
    databases: Databases, pooled: Place, bouncer: PgBouncer
) -> None:
    name = f"{make_url(pooled.database_url).database}_new"
    databases.create("template0", name).result()
    url = bouncer.through(make_url(pooled.database_url).set(database=name))
    try:
        done = await asyncio.gather(*(migrate(url, DOMAIN) for _ in range(3)), return_exceptions=True)
        assert [one for one in done if isinstance(one, BaseException)] == []
        assert await pending(url, DOMAIN) == []
        assert await renew_installation(url)
    finally:
        databases.drop(name)


async def test_changes_of_many_writers_are_applied_and_read_everywhere(stokers: list[Stoker]) -> None:
    async def writes(stoker: Stoker, shelf: int, number: int) -> None:
        name, label = f"s{shelf}", f"v{number}"
        async with stoker.session() as session, session.begin():
            await session.execute(
                text("UPDATE shelves SET label = :label WHERE id = :id"), {"label": label, "id": name}
            )
            receipt = stoker.record(session, ShelfRenamed(shelf=name))
        await apply_all(stoker)
        assert await receipt.applied(PATIENCE) is Applied.APPLIED
        readings = await asyncio.gather(*(other.read("label", name) for other in stokers))
        assert {reading.value["label"] for reading in readings} == {label}

    async def rounds(shelf: int) -> None:
        for number in range(1, ROUNDS + 1):
            await writes(stokers[(shelf + number) % STOKERS], shelf, number)

    await asyncio.gather(*(rounds(shelf) for shelf in range(SHELVES)))
    assert (await stokers[0].read("label", "s0")).state is State.HIT


async def test_an_engine_of_the_applications_own_needs_no_names_either(
    stokers: list[Stoker], pooled: Place
) -> None:
    own = create_async_engine(pooled.database_url, connect_args={"statement_cache_size": 0})
    try:
        async with Stoker.opened(pooled.settings(), DOMAIN, engine=own) as stoker:

            async def rename(shelf: str) -> None:
                async with AsyncSession(own) as session, session.begin():
                    await session.execute(
                        text("UPDATE shelves SET label = 'own' WHERE id = :id"), {"id": shelf}
                    )
                    stoker.record(session, ShelfRenamed(shelf=shelf))

            await asyncio.gather(*(rename(f"s{shelf}") for shelf in range(SHELVES)))
            await apply_all(stokers[0])
            assert (await stokers[1].read("label", "s1")).value == {"label": "own"}
    finally:
        await own.dispose()


async def test_captures_record_what_other_sessions_write(stokers: list[Stoker]) -> None:
    first, second = stokers[:2]
    async with first.engine.connect() as connection:
        compared = await compare(connection, DOMAIN.captures, SCHEMA)
    assert {one.state for one in compared} == {Standing.SAME}
    assert (await second.read("titles", "s1")).value == []
    async with first.session() as session, session.begin():
        await session.execute(text("INSERT INTO books (shelf_id, title) VALUES ('s1', 'New')"))
        receipt = first.applied(session)
    await apply_all(second)
    assert await receipt.applied(PATIENCE) is Applied.APPLIED
    assert (await second.read("titles", "s1")).value == ["New"]


async def test_a_worker_applies_delivers_and_keeps_its_schedule(stokers: list[Stoker], pooled: Place) -> None:
    settings = pooled.settings()
    stoker, stop = stokers[0], asyncio.Event()
    async with Stoker.opened(settings, DOMAIN) as workers:
        working = asyncio.create_task(run_worker(workers, settings, stop))
        async with stoker.session() as session, session.begin():
            await session.execute(text("INSERT INTO books (shelf_id, title) VALUES ('s1', 'New')"))
            asked = [stoker.enqueue_in(session, Count()) for _ in range(3)]
            receipt = stoker.record(session, ShelfRenamed(shelf="s1"))
        assert await receipt.applied(PATIENCE) is Applied.APPLIED
        assert await asyncio.gather(*(stoker.result(one, PATIENCE) for one in asked)) == [1, 1, 1]
        await _has_run(stoker)
        stop.set()
        await working


async def _has_run(stoker: Stoker) -> None:
    done = text("SELECT count(*) FROM stoker.schedule_slots WHERE state = 'done'")
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while True:
            async with stoker.engine.connect() as connection:
                if await connection.scalar(done):
                    return
            await asyncio.sleep(0.05)
