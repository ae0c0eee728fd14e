"""Migrations on a real, empty Postgres."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from stoker import Applied, Stoker, Verify
from stoker.domain import Domain
from stoker.embedded import Urls
from stoker.errors import DatabaseUnavailable
from stoker.handlers.relay import apply_all
from stoker.migrate import MigrationsPending, migrate, pending, renew_installation, require_migrated
from stoker.tables import metadata
from stoker.worker.check import check
from stoker.worker.process import run_worker
from tests.library import ShelfRenamed
from tests.library import domain as shelves
from tests.support.place import Place

REVISIONS = ["stoker: 0001"]
FIRST_OF_A_DOMAIN = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "d1", None

def upgrade():
    op.create_table("shelves", sa.Column("id", sa.BigInteger, primary_key=True))
"""


@pytest.fixture
async def empty_database(server_urls: Urls) -> AsyncIterator[str]:
    url = make_url(server_urls.database)
    name = f"empty_{secrets.token_hex(6)}"
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE template0'))
        yield url.set(database=name).render_as_string(hide_password=False)
        await connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    await engine.dispose()


@pytest.fixture
def library(tmp_path: Path) -> Domain:
    (tmp_path / "d1.py").write_text(FIRST_OF_A_DOMAIN)
    return Domain(name="library", scopes=(), views=(), rules=(), migrations=tmp_path)


async def query(url: str, statement: str) -> list[Any]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        rows = [tuple(row) for row in await connection.execute(text(statement))]
    await engine.dispose()
    return rows


TABLES = "SELECT tablename FROM pg_tables WHERE schemaname IN ('public', 'stoker') ORDER BY 1"


async def test_the_migrated_database_is_what_the_tables_declare(empty_database: str) -> None:
    await migrate(empty_database, None)

    def differences(connection: Connection) -> list[Any]:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_object": ours,
            "include_schemas": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    def ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
        # The index is there where the server has pg_trgm, and no test needs one that has not.
        return (kind, name) not in {("table", "alembic_version"), ("index", "job_history_error")}

    engine = create_async_engine(empty_database)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_migrating_twice_changes_nothing_and_keeps_the_installation(empty_database: str) -> None:
    assert await migrate(empty_database, None) == REVISIONS
    first = await query(empty_database, "SELECT id FROM stoker.installation")
    assert await migrate(empty_database, None) == []
    assert await query(empty_database, "SELECT id FROM stoker.installation") == first


async def test_two_processes_migrate_at_once_and_one_of_them_finds_it_done(empty_database: str) -> None:
    both = await asyncio.gather(migrate(empty_database, None), migrate(empty_database, None))
    assert sorted(both) == [[], REVISIONS]
    assert len(await query(empty_database, "SELECT id FROM stoker.installation")) == 1


async def test_an_adopter_takes_only_stokers_tables(empty_database: str, library: Domain) -> None:
    await migrate(empty_database, library, only="stoker")
    tables = [name for (name,) in await query(empty_database, TABLES)]
    assert "cache_events" in tables
    assert "shelves" not in tables
    assert await pending(empty_database, library) == ["library: d1"]


async def test_the_domains_history_is_its_own(empty_database: str, library: Domain) -> None:
    assert await migrate(empty_database, library, only="domain") == ["library: d1"]
    tables = [name for (name,) in await query(empty_database, TABLES)]
    assert tables == ["library_alembic_version", "shelves"]
    assert await migrate(empty_database, library) == REVISIONS
    assert await pending(empty_database, library) == []


async def test_a_failing_revision_leaves_nothing_behind(empty_database: str, library: Domain) -> None:
    assert library.migrations is not None
    (library.migrations / "d2.py").write_text(
        'revision, down_revision = "d2", "d1"\n\ndef upgrade():\n    raise RuntimeError("half way")\n'
    )
    with pytest.raises(RuntimeError, match="half way"):
        await migrate(empty_database, library)
    assert await query(empty_database, TABLES) == []


async def test_starting_on_an_old_database_says_what_to_run(empty_database: str) -> None:
    with pytest.raises(
        MigrationsPending,
        match=r"stoker: 0001.*run: stoker migrate",
    ):
        await require_migrated(empty_database, None)
    await migrate(empty_database, None)
    await require_migrated(empty_database, None)


async def test_a_database_ahead_of_this_release_is_not_refused(empty_database: str) -> None:
    await migrate(empty_database, None)
    engine = create_async_engine(empty_database)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE stoker.alembic_version SET version_num = '9999'"))
    await engine.dispose()
    await require_migrated(empty_database, None)


async def test_a_restored_database_can_be_given_a_new_id(empty_database: str) -> None:
    await migrate(empty_database, None)
    (old,) = await query(empty_database, "SELECT id FROM stoker.installation")
    new = await renew_installation(empty_database)
    assert (new,) != old
    assert await query(empty_database, "SELECT id FROM stoker.installation") == [(new,)]


async def test_an_unreachable_database_is_reported_as_such() -> None:
    with pytest.raises(DatabaseUnavailable):
        await pending("postgresql+asyncpg://nobody@127.0.0.1:1/none", None)


async def test_stokers_tables_can_be_in_a_schema_of_another_name(place: Place, empty_database: str) -> None:
    settings = replace(place, database_url=empty_database).settings(
        database={"schema_name": "cache_of_shop"}, schedule={"enable_background_warming": False}
    )
    await migrate(empty_database, shelves, schema="cache_of_shop")
    engine = create_async_engine(empty_database)
    async with Stoker.opened(settings, shelves) as stoker:
        async with AsyncSession(engine) as session, session.begin():  # an engine of the application's own
            await session.execute(text("INSERT INTO shelves VALUES ('s', 'Novels')"))
            receipt = stoker.record(session, ShelfRenamed(shelf="s"))
        # An engine with options is another engine on the same pool, whichever of them comes first.
        others = create_async_engine(empty_database)
        for each in (
            (engine, engine.execution_options(isolation_level="SERIALIZABLE")),
            (
                others.execution_options(isolation_level="SERIALIZABLE"),
                others,
            ),
        ):
            for one in each:
                async with AsyncSession(one) as session, session.begin():
                    receipt = stoker.record(session, ShelfRenamed(shelf="s"))
        await others.dispose()
        assert await apply_all(stoker) == 5
        assert await receipt.applied() is Applied.APPLIED
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(stoker, settings, stop))
        await stoker.enqueue(Verify())
        stop.set()
        await worker
        assert await check(settings, shelves) == []
    await engine.dispose()
    schemas = [name for (name,) in await query(empty_database, "SELECT nspname FROM pg_namespace")]
    assert "cache_of_shop" in schemas
    assert "stoker" not in schemas
