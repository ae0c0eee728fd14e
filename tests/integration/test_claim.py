"""How the relay claims a burst: what says the same once, and along the index, whatever Postgres expects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from stoker import Invalidation, Scope, Stoker
from stoker.handlers.relay import apply_all
from stoker.outbox import rows
from stoker.outbox.record import InvalidationRequested
from tests.support.notes import NoteChanged, Notes
from tests.support.place import Place

A_BURST = 20_000


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), Notes().domain) as stoker:
        yield stoker


async def test_events_that_say_the_same_are_claimed_as_one(stoker: Stoker) -> None:
    kind = NoteChanged.kind
    async with stoker.session() as session, session.begin():
        for note_id in (1, 2, 1, 1):
            stoker.record(session, NoteChanged(note_id=note_id, readers=()))
    async with stoker.engine.begin() as connection:
        claimed = await rows.claim(connection, stoker.settings.changes, [kind])
        ids = sorted(id_ for same in claimed for id_ in same.ids)
        assert sorted(sorted(same.ids) for same in claimed) == [[ids[0], ids[2], ids[3]], [ids[1]]]
        assert all('"note_id"' in same.payload for same in claimed)
        [waited] = await rows.settle(connection, ids)
        assert waited.events == 4
    assert await apply_all(stoker) == 0


async def test_what_no_rule_asks_for_is_not_fetched(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([Invalidation(Scope("note", "1"))]))
    async with stoker.engine.begin() as connection:
        [claimed] = await rows.claim(connection, stoker.settings.changes, [NoteChanged.kind])
    assert claimed.payload == ""


async def test_a_burst_that_was_never_analyzed_is_not_sorted_for_each_batch(stoker: Stoker) -> None:
    async with stoker.engine.begin() as connection:
        await connection.execute(text("ANALYZE stoker.cache_events"))
        await connection.execute(
            text(
                "INSERT INTO stoker.cache_events (kind, payload, scopes) SELECT 'note.changed', '{}', '[]'"
                " FROM generate_series(1, :count)"
            ),
            {"count": A_BURST},
        )
        explained = await connection.scalars(
            text(f"EXPLAIN {rows.CLAIM.text}"),
            {"asking": [], "batch": 100, "longest_backoff": timedelta(seconds=1), "idle_ms": "1000"},
        )
        plan = "\n".join(explained)
    assert "cache_events_unsettled" in plan
    assert "Sort" not in plan, plan
