"""From a statement of any program to a page that is right."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, text

from stoker import Capture, Invalidation, Rule, State, Stoker
from stoker.handlers.relay import apply_all
from stoker.migrate import migrate
from stoker.tables import cache_events
from tests.library import SHELF, BookAdded, ShelfRenamed
from tests.library import domain as library
from tests.support.place import Place

DOMAIN = replace(
    library,
    captures=(
        Capture("shelves", ShelfRenamed, {"shelf": "id"}, columns=("label",)),
        Capture("books", BookAdded, {"shelf": "shelf_id"}, views=frozenset({"titles"})),
    ),
)


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    await migrate(place.database_url, DOMAIN)
    async with Stoker.opened(place.settings(), DOMAIN) as opened:
        await sql(opened, "INSERT INTO shelves (id, label) VALUES ('a', 'A'), ('b', 'B')")
        await apply_all(opened)
        yield opened


async def sql(stoker: Stoker, statement: str) -> list[Any]:
    """As another program would: through a connection that Stoker does not know."""
    url = make_url(str(stoker.settings.database_url.get_secret_value()))  # type: ignore[union-attr]
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def states(stoker: Stoker) -> list[State]:
    """Whether each of four entries is in the cache."""
    wanted = [("label", "a"), ("titles", "a"), ("label", "b"), ("titles", "b")]
    return [(await stoker.read(view, shelf)).state for view, shelf in wanted]


async def test_a_statement_of_another_program_invalidates_what_the_rule_says(stoker: Stoker) -> None:
    await states(stoker)
    await sql(stoker, "UPDATE shelves SET label = 'changed' WHERE id = 'a'")
    await sql(stoker, "INSERT INTO books (shelf_id, title) VALUES ('b', 'New')")
    assert await apply_all(stoker) == 2
    assert await states(stoker) == [State.MISS, State.MISS, State.HIT, State.MISS]


async def test_an_applied_event_says_what_its_rule_named(stoker: Stoker) -> None:
    await sql(stoker, "INSERT INTO books (shelf_id, title) VALUES ('b', 'New')")
    await apply_all(stoker)
    newest = "SELECT scopes FROM stoker.cache_events ORDER BY id DESC LIMIT 1"
    assert [json.loads(row[0]) for row in await sql(stoker, newest)] == [[["shelf", "b", ["titles"], 0, 0]]]


async def test_truncate_invalidates_the_views_of_the_capture_in_every_scope(stoker: Stoker) -> None:
    await states(stoker)
    await sql(stoker, "TRUNCATE books")
    await apply_all(stoker)
    assert await states(stoker) == [State.HIT, State.MISS, State.HIT, State.MISS]


async def test_without_named_views_all_are_invalidated(stoker: Stoker) -> None:
    await states(stoker)
    await sql(stoker, "TRUNCATE shelves CASCADE")
    await sql(stoker, "INSERT INTO shelves (id, label) VALUES ('a', 'A'), ('b', 'B')")
    await apply_all(stoker)
    assert await states(stoker) == [State.MISS] * 4


async def test_every_scope_of_this_cache_is_invalidated_and_nothing_of_its_neighbour(stoker: Stoker) -> None:
    store = stoker.cache.store
    for number in range(3000):
        await store.client.call(("SET", store.keys.stamp(SHELF.scope(f"s{number}"), "label"), "x"))
    await store.client.call(("SET", f"{store.keys.root}x:{{shelf:a}}:stamp:label", "theirs"))
    await sql(stoker, "TRUNCATE shelves CASCADE")
    await apply_all(stoker)
    pattern = ("KEYS", f"{store.keys.root}*:stamp:*")
    left = (await store.client.call(pattern)).first()
    assert left == [f"{store.keys.root}x:{{shelf:a}}:stamp:label".encode()]
    await store.client.call(("DEL", *left))


@pytest.mark.parametrize("broken", ["unknown", "unreadable", "failing"])
async def test_an_event_that_this_release_cannot_apply_invalidates_its_views(
    place: Place, stoker: Stoker, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(_event: object) -> list[Invalidation]:
        raise ZeroDivisionError

    class Other(BookAdded):
        kind = "book.added"
        colour: str

    rules = {
        "unknown": (library.rules[0],),
        "unreadable": (library.rules[0], Rule(Other, lambda _: [])),
        "failing": (library.rules[0], Rule(BookAdded, fail)),
    }
    await states(stoker)
    await sql(stoker, "INSERT INTO books (shelf_id, title) VALUES ('b', 'New')")
    other = replace(library, rules=rules[broken])
    async with Stoker.opened(place.settings(), other) as older:
        assert await apply_all(older) == 1
    assert await states(stoker) == [State.HIT, State.MISS, State.HIT, State.MISS]
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == ["event.rule_not_asked"]


async def test_an_audience_is_asked_of_captured_events_too(place: Place, stoker: Stoker) -> None:
    async def neighbours(session: Any, events: Any) -> list[Invalidation]:  # noqa: ANN401
        found = await session.scalars(text("SELECT id FROM shelves"))
        return [Invalidation(SHELF.scope(one), {"label"}) for one in found if events]

    asking = replace(DOMAIN, rules=(library.rules[0], Rule(BookAdded, lambda _: [], neighbours)))
    await states(stoker)
    await sql(stoker, "INSERT INTO books (shelf_id, title) VALUES ('b', 'New')")
    async with Stoker.opened(place.settings(), asking) as other:
        await apply_all(other)
    assert await states(stoker) == [State.MISS, State.HIT, State.MISS, State.HIT]


async def test_an_audience_is_not_asked_of_an_event_that_names_no_rows(place: Place, stoker: Stoker) -> None:
    async def nobody(_session: Any, events: Any) -> list[Invalidation]:  # noqa: ANN401
        raise AssertionError(events)

    asking = replace(DOMAIN, rules=(library.rules[0], Rule(BookAdded, lambda _: [], nobody)))
    await states(stoker)
    await sql(stoker, "TRUNCATE books")
    async with Stoker.opened(place.settings(), asking) as other:
        assert await apply_all(other) == 1
    assert await states(stoker) == [State.HIT, State.MISS, State.HIT, State.MISS]


async def test_the_application_may_record_events_of_a_captured_kind(stoker: Stoker) -> None:
    await states(stoker)
    async with stoker.session() as session, session.begin():
        stoker.record(session, BookAdded(shelf="a"))
    await apply_all(stoker)
    assert await states(stoker) == [State.HIT, State.MISS, State.HIT, State.HIT]
    async with stoker.engine.connect() as connection:
        by = cache_events.c.recorded_by
        assert "application" in (await connection.execute(by.table.select())).mappings().all()[-1].values()
