"""Postgres is silent: waiting calls get an error in time, later calls at once, and every process can stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url, text

from stoker import Applied, DatabaseUnavailable, State
from stoker.chaos.link import through
from stoker.jobs import Refresh
from stoker.stoker import Stoker
from tests.races.race import race
from tests.races.world import NEVER_S, Process, World, never, no_error, patience
from tests.support.notes import NoteChanged
from tests.support.traps import TrappedLink, link_to_postgres

DEADLINE_S = 1.0
IN_VAIN_S = 8
"""For what does not come without its guard."""
COLD = 30
"""Pages at once, for two connections."""
AT_ONCE = 10
"""Connections in a row that die: more than there are attempts."""
BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ"


class Wired:
    """A process whose way to Postgres is a link."""

    def __init__(self, process: Process, link: TrappedLink) -> None:
        self.process = process
        self.link = link
        self.stoker: Stoker = process.stoker

    async def is_refused(self) -> None:
        """Wait until the process knows that Postgres is silent."""
        async with patience("it counts as answering", IN_VAIN_S):
            while not self.stoker.vitals()["postgres_silent"]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _wired(world: World, **database: Any) -> AsyncIterator[Wired]:  # noqa: ANN401 - settings
    url = make_url(world.urls.database)
    link = await link_to_postgres(url)
    led = through(link, url).render_as_string(hide_password=False)
    other = World(replace(world.urls, database=led), world.prefix)
    long = {"connect_timeout_s": NEVER_S, "command_timeout_s": NEVER_S, **database}
    process = await other.process(database=long, loaders={"connections": 2})
    try:
        yield Wired(process, link)
    finally:
        link.cut()
        await other.close()
        await link.close()


@pytest.fixture
async def wired(world: World) -> AsyncIterator[Wired]:
    """Limits of connections and statements are far away: the deadline alone counts."""
    async with _wired(world, deadline_s=DEADLINE_S) as wired:
        yield wired


async def _answered(wired: Wired, note_id: int, *, bypass: bool = False) -> type[BaseException] | State:
    try:
        return (await wired.stoker.read("detail", note_id, reader=1, bypass=bypass)).state
    except DatabaseUnavailable as error:
        return type(error)


@race("silence noticed")
async def test_cold_pages_of_a_silent_postgres_do_not_wait_for_each_others_connections(
    world: World, wired: Wired
) -> None:
    """Postgres away. Two silent connections block nothing: all loads end, and all readers get an answer."""
    for note_id in range(2, COLD + 2):
        await world.sql("INSERT INTO notes VALUES (:id, 'v1')", id=note_id)
        await world.sql("INSERT INTO note_members VALUES (:id, 1)", id=note_id)
    wired.link.freeze()
    cold = [_answered(wired, note_id, bypass=note_id % 2 == 0) for note_id in range(2, COLD + 2)]
    async with patience("readers wait", IN_VAIN_S):
        assert set(await asyncio.gather(*cold)) == {DatabaseUnavailable}
    await wired.is_refused()
    async with patience("loads go on", IN_VAIN_S):
        while wired.stoker.vitals()["loads_running"]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@race("reads that end")
async def test_a_load_that_takes_longer_than_the_deadline_does_not_hold_its_reader(
    wired: Wired,
) -> None:
    """Postgres away. It may only be slow: its load goes on, and the next reader has what it built."""
    held = wired.process.notes.hold_before("detail")
    async with patience("the reader waits", IN_VAIN_S):
        assert await _answered(wired, 1) is DatabaseUnavailable
    assert not wired.stoker.vitals()["postgres_silent"]
    held.release()
    async with patience("nothing was kept"):
        while await _answered(wired, 1) is not State.HIT:
            pass


@race("silence noticed")
async def test_who_comes_after_postgres_fell_silent_is_not_made_to_wait(world: World, wired: Wired) -> None:
    """Postgres away. Nothing is sent to it but the question whether it answers again; then all goes on."""
    await world.warmed(wired.process)
    wired.link.freeze()
    await _answered(wired, 1, bypass=True)
    await wired.is_refused()
    asked, connected = wired.link.count(b"SELECT"), wired.link.connected
    assert await _answered(wired, 1, bypass=True) is DatabaseUnavailable
    with pytest.raises(DatabaseUnavailable):
        async with wired.stoker.session() as session:
            await session.execute(text("SELECT 1"))
    with pytest.raises(DatabaseUnavailable):
        await wired.process.task(Refresh(view="detail", scope_id="2"))
    assert (asked.count, wired.link.connected - connected) <= (0, 1)
    wired.link.mend()
    async with patience("it never answers again"):
        while await _answered(wired, 1, bypass=True) is not State.BYPASS:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@race("silence noticed")
async def test_a_writer_whose_postgres_fell_silent_is_told_what_is_known(world: World, wired: Wired) -> None:
    """Postgres away. Its COMMIT may have arrived or not: the receipt says UNKNOWN until Postgres answers."""
    held = wired.link.hold_reply(b"COMMIT")
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012 - of the commit, or of what comes after it
        async with patience("the writer waits", IN_VAIN_S), wired.stoker.session() as session:
            await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
            receipt = wired.stoker.record(session, NoteChanged(note_id=1))
            writing = asyncio.create_task(session.commit())
            await held.reached.wait()
            wired.link.freeze()
            await writing
    assert await receipt.applied(timedelta(0)) is Applied.UNKNOWN
    held.release()
    wired.link.mend()
    async with patience("it is not known"):
        while (said := await receipt.applied(timedelta(0))) is Applied.UNKNOWN:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
    assert said is Applied.PENDING
    assert await world.sql("SELECT body FROM notes WHERE id = 1") == "v2"


@race()
async def test_a_statement_that_takes_long_does_not_make_postgres_silent(wired: Wired) -> None:
    """Postgres away. A slow statement is not silence: Postgres still answers probes, so everybody waits."""
    asked = wired.link.connected
    async with wired.stoker.session() as session:
        with no_error():
            await session.execute(text("SELECT pg_sleep(:s)"), {"s": 3 * DEADLINE_S})
    never("a slow Postgres counts as silent", happened=bool(wired.stoker.vitals()["postgres_silent"]))
    assert wired.link.connected > asked, "it was asked"


async def test_connections_that_die_at_their_begin_are_an_outage_and_nothing_else(world: World) -> None:
    """A pooler whose server is away accepts connections and then closes them."""
    async with _wired(world, deadline_s=NEVER_S) as wired:
        for _ in range(2):  # with a connection in the pool, and without
            assert await _answered(wired, 1, bypass=True) is State.BYPASS
            for _ in range(AT_ONCE):
                wired.link.lose_reply(BEGIN)
            assert await _answered(wired, 1, bypass=True) is DatabaseUnavailable
            with pytest.raises(DatabaseUnavailable) as raised:
                await wired.process.task(Refresh(view="detail", scope_id="1"))
            assert isinstance(raised.value, Refresh.retry.errors), "and so the job is tried again"
            wired.link.forget()


@race("goodbyes that end")
async def test_a_silent_connection_does_not_keep_a_process_from_stopping(world: World) -> None:
    """Postgres away. Idle connections and one with a statement that runs: closing waits for none of them."""
    async with _wired(world, deadline_s=NEVER_S) as wired:
        await asyncio.gather(*(_answered(wired, 1, bypass=True) for _ in range(4)))
        asked = wired.link.count(b"pg_sleep")
        sleeping = asyncio.create_task(_sleeps(wired.stoker))
        await asked.reach(1)
        wired.link.freeze()
        async with patience("it does not stop", IN_VAIN_S):
            await wired.stoker.close()
        async with patience("the statement goes on", IN_VAIN_S):
            await asyncio.wait([sleeping])
        assert isinstance(sleeping.exception(), DatabaseUnavailable)


async def _sleeps(stoker: Stoker) -> None:
    async with stoker.session() as session:
        await session.execute(text("SELECT pg_sleep(3600)"))
