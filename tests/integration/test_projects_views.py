"""Sample data, what the statements cost on it, and what is warmed first."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import zstandard
from sqlalchemy import Engine, event, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from jobs import domain
from jobs.sample import is_empty, load
from jobs.sample.generate import Sample
from jobs.tables import metadata, projects
from jobs.views import ACCESS, DASHBOARD, EXPORT
from stoker import BadRequest

USERS = 20
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def filled(engine: AsyncEngine, database_url: str) -> AsyncEngine:
    await load(database_url, 7, USERS, lambda _done, _total: None)
    return engine


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    target: Engine = engine.sync_engine
    event.listen(target, "before_cursor_execute", note)
    yield statements
    event.remove(target, "before_cursor_execute", note)


def test_sample_data_follows_from_its_seed() -> None:
    def rows(seed: int) -> dict[str, list[Any]]:
        sample = Sample(seed, 3, NOW)
        return {table: list(sample.rows(table)) for table in sample.counts}

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
    assert {table: len(found) for table, found in rows(1).items()} == Sample(1, 3, NOW).counts
    assert len(rows(1)["predicate_devices"]) == 300
    assert len(rows(1)["agent_interactions"]) == 1500


async def test_sample_data_loads_once_and_leaves_sequences_behind_it(
    engine: AsyncEngine, database_url: str
) -> None:
    async with AsyncSession(engine) as session:
        assert await is_empty(session)
    reports: list[tuple[int, int]] = []
    loaded = await load(database_url, 7, USERS, lambda done, total: reports.append((done, total)))
    assert reports[-1] == (sum(loaded.values()), sum(loaded.values()))
    with pytest.raises(BadRequest):
        await load(database_url, 7, USERS, lambda _done, _total: None)
    with pytest.raises(BadRequest):
        await load(database_url, 7, 0, lambda _done, _total: None)
    async with AsyncSession(engine) as session:
        assert not await is_empty(session)
        for table, count in loaded.items():
            assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == count  # noqa: S608
        assert await session.scalar(text("SELECT nextval('project_revision')")) == USERS * 10 + 1
        new = metadata.tables["users"].insert().values(name="New", email="new@example.com")
        assert await session.scalar(new.returning(metadata.tables["users"].c.id)) == USERS + 1


async def test_a_load_that_dies_leaves_nothing(engine: AsyncEngine, database_url: str) -> None:
    def die(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await load(database_url, 7, USERS, die)
    async with AsyncSession(engine) as session:
        assert await is_empty(session)


async def test_fifty_entries_cost_the_statements_of_one(filled: AsyncEngine) -> None:
    for view in domain.views:
        params = {"query": "a"} if view.name == "search" else None
        keys = [domain.key(view.name, number, params) for number in range(1, 51)]
        for asked in (keys[:1], keys):
            async with AsyncSession(filled) as session:
                with counted(filled) as statements:
                    found = await view.load(session, asked)
            assert len(statements) == 1, view.name
            assert set(found) == {
                key for key in asked if view.scope == "project" or int(key.scope.id) <= USERS
            }


async def test_a_dashboard_is_about_4_kb_and_not_too_easy_to_compress(filled: AsyncEngine) -> None:
    async with AsyncSession(filled) as session:
        found = await DASHBOARD.load(session, [domain.key("dashboard", n) for n in range(1, 201)])
    bodies = [json.dumps(value, separators=(",", ":")).encode() for value in found.values()]
    sizes = sorted(len(body) for body in bodies)
    assert 3500 < sizes[len(sizes) // 2] < 5500
    ratios = sorted(len(zstandard.compress(body)) / len(body) for body in bodies)
    assert ratios[len(ratios) // 10] > 0.25


async def test_one_loader_call_serves_both_formats_of_an_export(filled: AsyncEngine) -> None:
    keys = [domain.key("export", 1, {"format": form}) for form in ("json", "csv")]
    async with AsyncSession(filled) as session:
        found = await EXPORT.load(session, keys)
    as_json, as_csv = (found[key] for key in keys)
    assert as_csv["revision"] == as_json["revision"]
    listed = sum(
        len(as_json[name]) for name in ("classifications", "predicates", "documents", "interactions")
    )
    assert len(as_csv["text"].splitlines()) == listed + 2


async def test_views_do_not_depend_on_the_time_zone_of_the_session(filled: AsyncEngine) -> None:
    keys = [domain.key("dashboard", 1)]
    async with AsyncSession(filled) as session:
        before = await DASHBOARD.load(session, keys)
        await session.execute(text("SET TIME ZONE 'Asia/Kathmandu'"))
        assert await DASHBOARD.load(session, keys) == before


async def test_warming_starts_with_projects_in_progress_and_users_take_turns(filled: AsyncEngine) -> None:
    async with AsyncSession(filled) as session:
        warmed = await domain.warm_plan("active").entries(session, None)
        status = dict((await session.execute(select(projects.c.id, projects.c.status))).all())
    dashboards = [key for key in warmed if key.view == DASHBOARD.name]
    assert len(set(warmed)) == len(warmed)
    assert [key.view for key in warmed[:4]] == [ACCESS.name, DASHBOARD.name] * 2
    first = [status[key.scope.number] for key in dashboards[: USERS // 2]]
    assert first == ["in_progress"] * len(first)


async def test_nobody_is_active_after_a_quiet_day(filled: AsyncEngine) -> None:
    async with AsyncSession(filled) as session:
        for table, column in (
            ("projects", "updated_at"),
            ("project_documents", "created_at"),
            ("agent_interactions", "created_at"),
        ):
            target = metadata.tables[table]
            quiet = text(f"{column} - interval '25 hours'")
            await session.execute(update(target).values({column: quiet}))
        assert await domain.warm_plan("active").entries(session, None) == []


async def test_a_user_and_a_project_are_warmed_whole(filled: AsyncEngine) -> None:
    async with AsyncSession(filled) as session:
        of_user = await domain.warm_plan("user").entries(session, domain.scope("user", 1))
        of_project = await domain.warm_plan("project").entries(session, domain.scope("project", 1))
    assert [key.view for key in of_user[:4]] == ["list", "stats", "access", "dashboard"]
    assert {key.view for key in of_project} == {"access", "dashboard", "detail", "export"}
