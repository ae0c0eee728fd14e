"""Statements, limits and locks on connections that belong to another client in the next transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.embedded.pgbouncer import PgBouncer
from stoker.errors import DatabaseUnavailable
from stoker.postgres import application_engine, engine_of, loader_engine, reading_engine, short_connection
from stoker.settings import Settings, load_settings
from stoker.worker.check import check
from tests.support.engine_stage import eventually
from tests.support.pgbouncer import pooler
from tests.support.place import Place

CLIENTS, ROUNDS = 12, 6
MAKERS = [application_engine, loader_engine, reading_engine]
LEFT_BEHIND = text("""
    SELECT current_setting('statement_timeout') || current_setting('idle_in_transaction_session_timeout')
           || current_setting('plan_cache_mode') || current_setting('lock_timeout') || current_setting('jit')
           || (SELECT count(*) FROM pg_prepared_statements WHERE name <> '')
           || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
           || (SELECT count(*) FROM pg_listening_channels())
""")


def settings(url: str, *, connections: int = CLIENTS, statement_s: float = 30) -> Settings:
    return load_settings(
        database_url=SecretStr(url),
        database={"connections": connections},
        loaders={"connections": connections, "statement_timeout_s": statement_s},
        api={"read_connections": connections},
    )


async def use(engine: AsyncEngine, client: int) -> None:
    """Several statements in each transaction, which change from one to the next and come again."""
    for number in range(ROUNDS):
        async with engine.connect() as connection:
            kind = ("int", "bigint", "numeric", "text")[(client + number) % 4]
            value = str(number) if kind == "text" else number
            found = await connection.scalar(text(f"SELECT CAST(:value AS {kind})"), {"value": value})
            assert str(found) == str(number)
            assert await connection.scalar(text("SELECT CAST(:value AS jsonb)"), {"value": "[1]"}) == [1]
            assert await connection.scalar(text(f"SELECT {client}")) == client
            await connection.commit()  # what a transaction has SET without LOCAL would stay


@pytest.fixture
async def busy(pooled: Place) -> AsyncIterator[list[AsyncEngine]]:
    """All three engines through the pooler, after more clients than it has connections have used them."""
    engines: list[AsyncEngine] = [make(settings(pooled.database_url)) for make in MAKERS]
    await asyncio.gather(*(use(engine, client) for engine in engines for client in range(CLIENTS)))
    yield engines
    for engine in engines:
        await engine.dispose()


async def test_clients_that_share_connections_run_each_their_own_statements(busy: list[AsyncEngine]) -> None:
    async def at_once(engine: AsyncEngine) -> int:
        async with engine.connect() as connection:
            return int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0)

    pids = await asyncio.gather(*(at_once(engine) for engine in busy for _ in range(CLIENTS)))
    assert 1 < len(set(pids)) <= 3, "they were not shared"


@pytest.mark.usefixtures("busy")
async def test_nothing_is_left_on_a_connection_for_its_next_client(direct: Place, pooled: Place) -> None:
    plain = engine_of(f"{direct.database_url}&statement_cache_size=0")
    shared = engine_of(pooled.database_url, pool_size=3)
    async with plain.connect() as connection:
        untouched = await connection.scalar(LEFT_BEHIND)
    holding = [shared.connect() for _ in range(3)]  # each in a transaction: all that the pooler has
    for one in holding:
        await one.start()
    try:
        assert [await one.scalar(LEFT_BEHIND) for one in holding] == [untouched] * 3
    finally:
        for one in holding:
            await one.close()
        await plain.dispose()
        await shared.dispose()


async def test_limits_hold_in_each_transaction(pooled: Place) -> None:
    engine = loader_engine(settings(pooled.database_url, statement_s=0.2))
    try:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="statement timeout"):
                async with short_connection(engine) as connection:
                    await connection.execute(text("SELECT pg_sleep(60)"))
        async with short_connection(engine) as connection:
            assert await connection.scalar(text("SHOW plan_cache_mode")) == "force_generic_plan"
            assert await connection.scalar(text("SHOW transaction_read_only")) == "on"
    finally:
        await engine.dispose()


async def test_a_caller_that_gives_up_ends_its_own_statement_and_nobody_elses(
    pooled: Place, direct: Place
) -> None:
    shared, plain = application_engine(settings(pooled.database_url)), engine_of(direct.database_url)
    runs = text(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
        " AND state = 'active' AND datname = current_database()"
    )

    async def sleep() -> None:
        async with shared.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))

    async def running() -> bool:
        async with plain.connect() as connection:
            return bool(await connection.scalar(runs))

    async def ended() -> bool:
        return not await running()

    sleeping = asyncio.create_task(sleep())
    try:
        await eventually(running)
        sleeping.cancel()
        await asyncio.gather(eventually(ended), *(use(shared, client) for client in range(CLIENTS)))
    finally:
        await asyncio.gather(sleeping, return_exceptions=True)
        await shared.dispose()
        await plain.dispose()


async def test_a_pooler_that_restarts_costs_an_error_and_no_more(direct: Place) -> None:
    with pooler(direct.database_url) as own:
        engine = application_engine(settings(own.url))
        try:
            await use(engine, 1)
            own.kill()
            with pytest.raises(DatabaseUnavailable):
                async with short_connection(engine):
                    pass
            own.start()
            await use(engine, 1)
        finally:
            await engine.dispose()


async def test_a_direct_connection_names_its_statements(direct: Place) -> None:
    """They are planned once for each connection."""
    engine = engine_of(direct.database_url)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        assert await connection.scalar(text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"))
    assert not engine.connections.pooled
    await engine.dispose()


async def test_names_are_kept_where_the_url_asks_for_them(direct: Place) -> None:
    """For a pooler that keeps prepared statements; here one that gives a client its connection for good."""
    with pooler(direct.database_url, connections=CLIENTS, mode="session") as own:
        url = make_url(own.url).update_query_dict({"statement_cache_size": "100"})
        engine = application_engine(settings(url.render_as_string(hide_password=False)))
        try:
            await asyncio.gather(*(use(engine, client) for client in range(CLIENTS)))
            async with engine.connect() as connection:
                named = text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
                assert await connection.scalar(named)
        finally:
            await engine.dispose()


async def test_check_says_that_a_pooler_is_there_until_the_url_says_how_statements_are_sent(
    pooled: Place, direct: Place
) -> None:
    async def said(url: str) -> list[str]:
        found = await check(load_settings(database_url=SecretStr(url)))
        return [finding.message for finding in found if "pooler" in finding.message]

    assert await said(direct.database_url) == []
    (found,) = await said(pooled.database_url)
    assert "statement_cache_size=100" in found
    assert "statement_cache_size=0" in found
    for size in (0, 100):
        assert await said(f"{pooled.database_url}&statement_cache_size={size}") == []


async def test_a_parameter_that_the_pooler_does_not_take_is_named(pooled: Place) -> None:
    """Only what an operator writes in the URL: Stoker sends none but the name of its loaders."""
    engine = engine_of(f"{pooled.database_url}&options=-cwork_mem%3D5MB")
    with pytest.raises(DatabaseUnavailable, match=r"unsupported startup parameter.*options"):
        async with short_connection(engine):
            pass
    await engine.dispose()


@pytest.fixture(autouse=True)
def _any_test_needs_it(bouncer: PgBouncer) -> None:
    """Skips them all where there is no PgBouncer."""
