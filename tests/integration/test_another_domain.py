"""A second domain, in place of the first: nothing but the setting `domain` names it (tests/library)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import make_url, text

from stoker import Applied, Settings, State, Stoker, load_settings
from stoker.api import create_app
from stoker.errors import UnknownScope
from stoker.operations import cache
from stoker.operations.audit import Actor, audited
from tests.integration.cli import Done, call, running
from tests.library import BookAdded, ShelfRenamed, domain
from tests.support.callers import OPERATOR, OSCAR, bearing
from tests.support.place import Place

ROOT = Path(__file__).parents[2]
WORKER_READY = "worker.started"


@pytest.fixture
def empty_database(database_url: str) -> Iterator[str]:
    """A database that no migration has seen."""
    url = make_url(database_url)
    name = f"{url.database}_empty"
    admin = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
        yield url.set(database=name).render_as_string(hide_password=False)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def environment(
    empty_database: str, queue_url: str, cache_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    own = {
        "DATABASE_URL": empty_database,
        "REDIS_URL": queue_url,
        "CACHE_REDIS_URL": cache_url,
        "STOKER__DOMAIN": "tests.library",
        "STOKER__QUEUE__PREFIX": prefix,
        "STOKER__CACHE__PREFIX": prefix,
        "STOKER__API__PORT": "0",
        "ENABLE_BACKGROUND_WARMING": "false",
        "PYTHONPATH": str(ROOT),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **own}


def test_another_domain_is_read_changed_invalidated_and_warmed(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stoker(*arguments: str) -> Done:
        return call(tmp_path, environment, *arguments, capture=capsys)

    migrated = stoker("migrate")
    assert "library_0001" in migrated.stdout
    with running(tmp_path, environment, "run", ready=WORKER_READY):
        asyncio.run(_read_and_change(load_settings()))
        done = stoker("invalidate", "shelf", "A-1", "--view", "titles")
        assert (done.returncode, done.stdout) == (0, "shelf:A-1 is invalidated\n")
        done = stoker("warm", "shelf", "A-1")
        assert done.returncode == 0, done.stderr
        assert "warmed 2 entries" in done.stdout
        assert stoker("invalidate", "project", "1").returncode == 2
        asyncio.run(_through_the_api(load_settings()))


@pytest.mark.parametrize(
    ("targets", "said"), [({"shelf"}, "name what to warm: shelf"), (set(), "it has no warm plan at all")]
)
async def test_warming_everybody_without_a_plan_for_it_is_refused_in_words(
    place: Place, targets: set[str], said: str
) -> None:
    plans = tuple(plan for plan in domain.warm_plans if plan.target in targets)
    async with Stoker.opened(place.settings(), replace(domain, warm_plans=plans)) as stoker:
        with pytest.raises(UnknownScope, match=f"the domain has no warm plan for 'active'; {said}"):
            await cache.warm(stoker, Actor("test"), "active")
        assert (await audited(stoker.engine, None, None, 1)).entries == []


async def _read_and_change(settings: Settings) -> None:
    async with Stoker.opened(settings, domain) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("INSERT INTO shelves VALUES ('A-1', 'Dragons')"))
        assert (await stoker.read("label", "A-1")).value == {"label": "Dragons"}
        assert (await stoker.read("titles", "A-1")).value == []

        async with stoker.session() as session, session.begin():
            await session.execute(text("INSERT INTO books (shelf_id, title) VALUES ('A-1', 'Smaug')"))
            added = stoker.record(session, BookAdded(shelf="A-1"))
        assert await added.applied() is Applied.APPLIED  # by the worker's process
        assert (await stoker.read("titles", "A-1", {"limit": 5})).value == ["Smaug"]
        assert (await stoker.read("label", "A-1")).state is State.HIT  # a book does not change the label

        async with stoker.session() as session, session.begin():
            await session.execute(text("UPDATE shelves SET label = 'Monsters'"))
            renamed = stoker.record(session, ShelfRenamed(shelf="A-1"))
        assert await renamed.applied() is Applied.APPLIED
        assert (await stoker.read("label", "A-1")).value == {"label": "Monsters"}


async def _through_the_api(settings: Settings) -> None:
    async with Stoker.opened(settings, domain) as stoker:
        app = create_app(stoker, load_settings(api={"tokens": [OSCAR]}))
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=bearing(OPERATOR)
        ) as api:
            asked = await api.post("/api/cache/invalidate", json={"kind": "shelf", "id": "A-1", "hard": True})
            assert asked.status_code == 202
            assert (await stoker.read("label", "A-1")).value == {"label": "Monsters"}
            asked = await api.post("/api/cache/warm", json={"target": "shelf", "id": "A-1"})
            assert asked.status_code == 202
            stats = (await api.get("/api/cache/stats")).json()
            assert set(stats["views"]) == {"label", "titles"}
            asked = await api.post("/api/cache/invalidate", json={"kind": "project", "id": "1"})
            assert (asked.status_code, asked.json()["field"]) == (422, "kind")
