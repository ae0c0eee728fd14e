"""An engine of the application's own: used, never disposed of, refused where it cannot work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from stoker import Applied, Settings, SettingsError, State, Stoker, WrongServer
from stoker.handlers.relay import apply_all
from tests.support.databases import Clones
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place


@pytest.fixture
async def engine(place: Place) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(place.database_url, pool_size=2, max_overflow=0)
    yield engine
    await engine.dispose()


def without_url(place: Place) -> Settings:
    return place.settings().model_copy(update={"database_url": None})


@pytest.mark.parametrize("url", [True, False])
async def test_it_is_used_and_outlives_stoker(place: Place, engine: AsyncEngine, *, url: bool) -> None:
    settings = place.settings() if url else without_url(place)
    async with Stoker.opened(settings, Notes().domain, engine=engine) as stoker:
        assert stoker.engine is engine
        async with AsyncSession(engine) as session, session.begin():
            await write_notes(session, 1)
        assert (await stoker.read("detail", 1, reader=7)).value == {"body": "v1"}
        async with AsyncSession(engine) as session, session.begin():
            await session.execute(text("UPDATE notes SET body = 'v2'"))
            receipt = stoker.record(session, NoteChanged(note_id=1))
        assert await apply_all(stoker) == 1
        assert await receipt.applied() is Applied.APPLIED
        reading = await stoker.read("detail", 1, reader=7)
        assert (reading.state, reading.value) == (State.MISS, {"body": "v2"})
        pool: Any = engine.pool
    after: Any = engine.pool
    assert after is pool, "it was disposed of"
    assert pool.checkedin() > 0
    assert pool.checkedout() == 0
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT body FROM notes")) == "v2"


async def test_what_cannot_work_is_refused(place: Place, engine: AsyncEngine) -> None:
    domain, settings = Notes().domain, place.settings()
    sync: Any = create_engine("sqlite://")
    with pytest.raises(SettingsError, match="engine must be made by create_async_engine, not Engine"):
        await Stoker.open(settings, domain, engine=sync)
    with pytest.raises(SettingsError, match=r"of postgresql\+asyncpg, not of postgresql\+psycopg"):
        await Stoker.open(settings, domain, engine=create_async_engine("postgresql+psycopg://x"))
    each = engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(SettingsError, match="engine commits each statement by itself"):
        await Stoker.open(settings, domain, engine=each)


async def test_loaders_of_another_database_are_refused_and_the_engine_stays(
    place: Place, engine: AsyncEngine, clones: Clones
) -> None:
    other = make_url(place.database_url).set(database=clones.take())
    others = create_async_engine(other)
    async with others.begin() as connection:
        await connection.execute(text("UPDATE stoker.installation SET id = 'another'"))
    await others.dispose()
    settings = Place(
        other.render_as_string(hide_password=False), place.queue_url, place.cache_url, place.prefix
    ).settings()
    pool = engine.pool
    with pytest.raises(WrongServer, match="DATABASE_URL leads to another database than `engine`"):
        await Stoker.open(settings, Notes().domain, engine=engine)
    assert engine.pool is pool
    async with others.connect() as connection:
        left = await connection.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoker loader'")
        )
    await others.dispose()
    assert left == 0


async def test_an_engine_whose_url_loaders_cannot_use_asks_for_one(place: Place) -> None:
    url = make_url(place.database_url).update_query_dict({"server_settings": "x"})
    engine = create_async_engine(url)
    with pytest.raises(SettingsError, match="the URL of engine takes no option"):
        await Stoker.open(without_url(place), Notes().domain, engine=engine)
