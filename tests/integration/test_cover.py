"""`stoker cover`: what loaders read, as Postgres itself says, and what records the changes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

import jobs
from stoker import Access, Domain, EntryKey, Event, Invalidation, Rule, ScopeKind, View
from stoker.coverage.cover import NO_SAMPLE, NO_STATEMENT, cover
from stoker.coverage.resolve import Reads, resolve
from stoker.errors import DeclarationError
from stoker.postgres import engine_of
from stoker.testing.started import finished
from tests.integration.cli import call

USER = ScopeKind("user")


class Renamed(Event):
    kind = "test.renamed"
    user_id: int


async def load_names(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    rows = await session.execute(
        text("SELECT id, name FROM users WHERE id = ANY(:ids)"), {"ids": [key.scope.number for key in keys]}
    )
    names = {number: name for number, name in rows}  # noqa: C416 - a Row is not a tuple to mypy
    return {key: names[key.scope.number] for key in keys if key.scope.number in names}


async def load_nothing(_session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    return dict.fromkeys(keys, 1)


def domain(load: Any = load_names, *covers: str) -> Domain:  # noqa: ANN401 - a loader
    names = View("names", USER, load, access=Access.ANYONE)
    rule = Rule(Renamed, lambda event: [Invalidation(USER.scope(event.user_id))], covers=covers)
    return Domain(name="test", scopes=(USER,), views=(names,), rules=(rule,))


@pytest.fixture
async def engine(database_url: str) -> Any:  # noqa: ANN401 - an async generator
    await filled(database_url)
    engine = engine_of(database_url)
    yield engine
    await engine.dispose()


async def filled(database_url: str) -> None:
    engine = engine_of(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO users (name, email) VALUES ('Ann', 'a@example.com')"))
    await engine.dispose()


async def reads_of(engine: AsyncEngine, statement: str, *before: str) -> tuple[set[str], set[str]]:
    reads = Reads()
    async with engine.connect() as connection:
        for one in before:
            await connection.execute(text(one))
        await resolve(connection, statement, reads)
        await connection.rollback()
    return {str(one) for one in reads.columns if one.name}, reads.unseen


async def test_a_column_that_is_only_compared_is_read(engine: AsyncEngine) -> None:
    found, unseen = await reads_of(
        engine, "SELECT count(*) FROM users WHERE active AND id = ANY($1::bigint[])"
    )
    assert (found, unseen) == ({"users.active", "users.id"}, set())


async def test_a_whole_row_reads_every_column(engine: AsyncEngine) -> None:
    found, _ = await reads_of(engine, "SELECT row_to_json(u) FROM users u")
    assert found == {"users.id", "users.name", "users.email", "users.active"}


async def test_a_view_and_a_cte_are_followed_to_their_tables(engine: AsyncEngine) -> None:
    made = "CREATE VIEW drafts AS SELECT id FROM projects WHERE status = 'draft'"
    found, _ = await reads_of(engine, "WITH x AS (SELECT * FROM drafts) SELECT count(*) FROM x", made)
    assert found == {"projects.id", "projects.status"}


async def test_a_function_that_postgres_does_not_analyse_is_unseen(engine: AsyncEngine) -> None:
    body = "BEGIN RETURN (SELECT count(*) FROM users); END"
    made = f"CREATE FUNCTION many() RETURNS bigint LANGUAGE plpgsql AS '{body}'"
    _, unseen = await reads_of(engine, "SELECT many()", made)
    assert unseen == {"function many() (plpgsql): what it reads is not known"}


@pytest.mark.usefixtures("engine")
async def test_what_is_declared_is_covered_and_all_else_is_not(database_url: str) -> None:
    (found,) = await cover(database_url, domain(load_names, "users.name"))
    assert [(one.column, one.covered_by) for one in found.reads] == [
        ("id", ()),
        ("name", ("rule test.renamed",)),
    ]
    assert [str(key) for key in found.samples] == ["user:1/names"]
    (found,) = await cover(database_url, domain(load_names, "users.*"))
    assert found.sound


async def test_a_loader_without_statements_and_one_without_data_are_said(database_url: str) -> None:
    (found,) = await cover(database_url, domain(load_names, "users.*"))
    assert (found.unseen, found.sound) == ([NO_SAMPLE], False)
    (found,) = await cover(database_url, domain(load_nothing))
    assert NO_STATEMENT in found.unseen


async def by_another_connection(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    assert session.bind is not None
    engine = create_async_engine(session.bind.engine.url)
    async with AsyncSession(engine) as other:
        found: Mapping[EntryKey, Any] = await load_names(other, keys)
    await engine.dispose()
    return found


@pytest.mark.usefixtures("engine")
async def test_a_loader_with_a_connection_of_its_own_is_said(database_url: str) -> None:
    (found,) = await cover(database_url, domain(by_another_connection))
    assert NO_STATEMENT in found.unseen


async def test_a_table_that_does_not_exist_is_refused(database_url: str) -> None:
    with pytest.raises(DeclarationError, match="'user', which the database does not have"):
        await cover(database_url, domain(load_names, "user.name"))


def test_covers_takes_a_tuple_of_columns() -> None:
    with pytest.raises(DeclarationError, match="write a tuple of columns"):
        Rule(Renamed, lambda _: [], covers="users.name")  # type: ignore[arg-type]


async def test_nothing_is_left_in_the_database(engine: AsyncEngine, database_url: str) -> None:
    await cover(database_url, domain())
    async with engine.connect() as connection:
        assert not await connection.scalar(
            text("SELECT count(*) FROM pg_proc WHERE proname = 'stoker_cover'")
        )


async def test_every_view_of_the_application_is_seen_without_a_declaration(database_url: str) -> None:
    assert jobs.domain.sample_data is not None
    await jobs.domain.sample_data.load(database_url, 1, 20, lambda _done, _total: None)
    found = {one.view: one for one in await cover(database_url, jobs.domain)}
    assert {name: one.unseen for name, one in found.items() if one.unseen} == {}
    assert all(one.samples for one in found.values())
    tables = {read.table for read in found["access"].reads}
    assert tables == {"projects", "project_members", "users"}


uncovered = domain()
"""What the setting `domain` names."""


def test_the_command_exits_with_1_where_nothing_records_a_change(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(filled(database_url))
    environment = {"DATABASE_URL": database_url, "STOKER__DOMAIN": f"{__name__}:uncovered"}
    done = call(tmp_path, environment, "cover", "--json", capture=capsys)
    assert done.returncode == 1
    assert '"covered_by": []' in done.stdout
