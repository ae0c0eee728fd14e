"""From a statement of any program to a page that is right."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, text

from stoker import (
    Access,
    Capture,
    Domain,
    EntryKey,
    Event,
    Forbidden,
    Invalidation,
    Rule,
    ScopeKind,
    State,
    Stoker,
    View,
)
from stoker.cache.flush import unlink_every_scope
from stoker.handlers.relay import apply_all
from stoker.migrate import install_captures, migrate
from stoker.tables import cache_events
from stoker.worker.sweeper import Sweeper
from tests.library import SHELF, BookAdded, ShelfRenamed
from tests.library import domain as library
from tests.support.place import Place

PATIENCE_S = 10
"""The sweeper's second, on a machine that runs other tests as well."""
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


@pytest.mark.parametrize(("hard", "left"), [(False, ["hard", "titles"]), (True, ["titles"])])
async def test_named_views_of_every_scope_are_invalidated_with_the_hard_stamp_if_it_is_wanted(
    stoker: Stoker, *, hard: bool, left: list[str]
) -> None:
    store = stoker.cache.store
    for name in ("hard", "label", "titles"):
        await store.client.call(("SET", f"{store.keys.root}:{{shelf:a}}:stamp:{name}", "x"))
    await unlink_every_scope(store, {"label"}, hard=hard)
    found = (await store.client.call(("KEYS", f"{store.keys.root}:*:stamp:*"))).first()
    assert sorted(key.decode().rpartition(":")[2] for key in found) == left


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


async def test_a_right_that_raw_sql_takes_away_is_gone_within_the_sweepers_second(place: Place) -> None:
    """The application is not involved, nobody rings: only the worker's sweeper runs."""
    await migrate(place.database_url, clubs)
    async with Stoker.opened(place.settings(), captured_clubs) as opened:
        await sql(opened, "CREATE TABLE members (club int, person int, PRIMARY KEY (club, person))")
        await install_captures(place.database_url, captured_clubs)
        await sql(opened, "INSERT INTO members VALUES (1, 7), (1, 8)")
        await apply_all(opened)
        assert (await opened.read("minutes", 1, reader=7)).role == "member"
        stop = asyncio.Event()
        sweeping = asyncio.create_task(
            Sweeper(lambda: apply_all(opened), timedelta(seconds=1)).run(stop), name="sweeper"
        )
        await sql(opened, "DELETE FROM members WHERE person = 7")
        committed = time.monotonic()
        with pytest.raises(Forbidden):
            await _read_until_refused(opened)
        took_s = time.monotonic() - committed
        assert (await opened.read("minutes", 1, reader=8)).role == "member"
        stop.set()
        await sweeping
    assert took_s < PATIENCE_S


async def _read_until_refused(stoker: Stoker) -> None:
    while True:
        await stoker.read("minutes", 1, reader=7)
        await asyncio.sleep(0.01)


async def _minutes(_session: Any, keys: Any) -> dict[EntryKey, str]:  # noqa: ANN401
    return dict.fromkeys(keys, "minutes")


async def _access(session: Any, keys: Any) -> dict[EntryKey, dict[str, str]]:  # noqa: ANN401
    found = (await session.execute(text("SELECT club, person FROM members"))).all()
    return {key: {str(who): "member" for club, who in found if club == key.scope.number} for key in keys}


class MemberChanged(Event):
    """A member joined a club or left it."""

    kind = "club.member_changed"
    club: int


CLUB = ScopeKind("club")
clubs = Domain(
    name="clubs",
    scopes=(CLUB,),
    views=(
        View("access", "club", _access, access=Access.ANYONE),
        View("minutes", "club", _minutes, access=Access.MEMBERS),
    ),
    rules=(Rule(MemberChanged, lambda event: [Invalidation(CLUB.scope(event.club), {"access"}, hard=True)]),),
)
captured_clubs = replace(clubs, captures=(Capture("members", MemberChanged, {"club": "club"}),))
