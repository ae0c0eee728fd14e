"""No transaction stays open after a cancellation, a timeout or a close.

A connection that is idle in a transaction keeps its locks and its snapshot: a migration or a TRUNCATE waits
for it as long as the process lives. Postgres itself is asked what there is.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Asked, EntryKey, StokerError
from stoker.cache.detached import Detached
from stoker.cache.loads import Loads
from stoker.chaos.link import through
from stoker.postgres import short_connection
from tests.races.world import Process, World, patience
from tests.support.notes import NoteChanged, note
from tests.support.traps import TrappedLink, link_to_postgres

DELAY_S = 0.005
"""One way over the slow link."""
CANCELLATIONS = 60
OPEN = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
"""
ANY = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND client_port > 0
"""


@pytest.fixture
async def link(world: World) -> AsyncIterator[TrappedLink]:
    """A slow way to Postgres."""
    link = await link_to_postgres(make_url(world.urls.database))
    link.delay_s = DELAY_S
    yield link
    await link.close()


@pytest.fixture
async def no_errors() -> AsyncIterator[None]:
    """Exceptions that nothing awaited, such as those of asyncpg futures; the loop reports them."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    yield
    gc.collect()
    assert {str(one.get("exception") or one["message"]) for one in told} == set()


async def process_behind(link: TrappedLink, world: World) -> Process:
    """A process of the world's whose way to Postgres is the link."""
    led = through(link, make_url(world.urls.database)).render_as_string(hide_password=False)
    other = World(replace(world.urls, database=led), world.prefix)
    return await other.process()


async def none_left(world: World, question: str, what: str) -> None:
    """Postgres soon shows no connection in a transaction."""
    async with patience(f"{what} stay"):
        while await world.sql(question):  # noqa: ASYNC110 - Postgres does not tell
            await asyncio.sleep(0.01)


async def test_a_load_that_has_ended_when_loads_are_closed_leaves_no_transaction(world: World) -> None:
    """The session's close was started in the same turn of the loop as `close`, so it has not run yet."""
    stoker, detached = world.first.stoker, Detached()
    loads = stoker.cache.filler.loads
    ours = Loads(loads._engine, detached, loads._silence, cap=1, limit=timedelta(seconds=9))
    await ours.load(stoker.domain.view("detail"), [EntryKey("detail", note(1))])
    await detached.close()
    assert await world.sql(OPEN) == 0


async def test_whoever_stops_waiting_for_a_close_leaves_no_transaction(world: World) -> None:
    """Cancelling `close` does not cancel the end of a load: that still runs, though nobody waits for it."""
    stoker, detached = world.first.stoker, Detached()
    loads = stoker.cache.filler.loads
    ours = Loads(loads._engine, detached, loads._silence, cap=1, limit=timedelta(seconds=9))
    await ours.load(stoker.domain.view("detail"), [EntryKey("detail", note(1))])
    closing = asyncio.create_task(detached.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await none_left(world, OPEN, "transactions")


async def _reads(process: Process) -> None:
    await process.stoker.read("detail", 1, reader=1, bypass=True)


async def _reads_many(process: Process) -> None:
    await process.stoker.read_many([Asked("detail", 1), Asked("summary", 1)], reader=1)


async def _writes(process: Process) -> None:
    async with process.stoker.session() as session:
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        process.stoker.record(session, NoteChanged(note_id=1))
        await session.commit()


async def _queries(process: Process) -> None:
    async with short_connection(process.stoker.engine) as connection:
        await connection.execute(text("SELECT pg_sleep(0.002)"))


async def _follows(process: Process) -> None:
    async with process.stoker.session() as session:
        receipt = process.stoker.record(session, NoteChanged(note_id=1))
        await session.commit()
    await receipt.applied()


async def _applies(process: Process) -> None:
    await process.apply()


WORK: tuple[Callable[[Process], Coroutine[None, None, None]], ...] = (
    _reads,
    _reads_many,
    _writes,
    _queries,
    _follows,
    _applies,
)


@pytest.mark.usefixtures("no_errors")
async def test_no_cancellation_leaves_a_transaction_in_a_process_that_goes_on(
    world: World, link: TrappedLink
) -> None:
    process, chance = await process_behind(link, world), random.Random(7)
    for _ in range(CANCELLATIONS):
        working = [asyncio.create_task(work(process)) for work in WORK]
        await asyncio.sleep(chance.uniform(0, 12 * DELAY_S))
        for task in working:
            task.cancel()
        ended = await asyncio.gather(*working, return_exceptions=True)
        assert all(
            one is None or isinstance(one, StokerError | asyncio.CancelledError | AssertionError)
            for one in ended
        ), ended
    await none_left(world, OPEN, "transactions")
    await process.close()
    await none_left(world, ANY, "connections")


@pytest.mark.usefixtures("no_errors")
async def test_no_close_leaves_a_connection(world: World, link: TrappedLink) -> None:
    chance = random.Random(11)
    for _ in range(CANCELLATIONS // 4):
        process = await process_behind(link, world)
        working = [asyncio.create_task(work(process)) for work in WORK]
        await asyncio.sleep(chance.uniform(0, 12 * DELAY_S))
        async with patience("it did not close"):
            await process.close()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await none_left(world, ANY, "connections")


async def test_a_close_ends_a_transaction_that_is_still_in_use(world: World, link: TrappedLink) -> None:
    process = await process_behind(link, world)
    session = AsyncSession(process.stoker.engine)
    await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
    await process.close()
    await none_left(world, ANY, "connections")
    with pytest.raises(Exception, match="closed"):
        await session.execute(text("SELECT 1"))
    await session.close()


async def test_a_session_whose_link_died_in_a_write_frees_its_row(world: World, link: TrappedLink) -> None:
    """The web app is gone, and Postgres has heard nothing of it: the transaction's own limit ends it."""
    led = through(link, make_url(world.urls.database)).render_as_string(hide_password=False)
    other = World(replace(world.urls, database=led), world.prefix)
    process = await other.process(database={"idle_in_transaction_s": 0.5})
    session = AsyncSession(process.stoker.engine)
    await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
    link.freeze()
    async with patience("the row stays locked"):
        await world.sql("UPDATE notes SET body = 'v3' WHERE id = 1")
    await session.invalidate()
    await process.close()
