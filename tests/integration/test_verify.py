"""The verifier on real servers: it finds wrong entries, and reports none that is merely changing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from stoker import State, Stoker
from stoker.cache.verdicts import Verdict, verified
from stoker.coverage.suspects import differences
from stoker.handlers.relay import apply_all
from stoker.handlers.verify import verify_entries
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place

EARLIER = text("""
    INSERT INTO stoker.cache_events (kind, payload, scopes, recorded_at, settled_at)
    VALUES ('note.changed', '{}', '[]', now() - interval '1 hour', now())
""")
"""An event from before the entries were built: it tells which transactions came before them."""


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def stoker(notes: Notes, place: Place) -> AsyncIterator[Stoker]:
    settings = place.settings(cache={"near_bytes": 0})
    async with Stoker.opened(settings, notes.domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 5)
        for note_id in range(1, 6):
            await stoker.read("detail", note_id, reader=7)
        await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
        yield stoker


async def test_a_right_cache_is_found_right(stoker: Stoker) -> None:
    checked = await verify_entries(stoker, 100)
    assert checked.counts == {Verdict.RIGHT: 5}
    published = await verified(stoker.cache.store.client, stoker.cache.store.keys)
    assert (published.checked, published.share, published.nines) == (5, 1.0, 0.7)
    assert published.last_at is not None


async def test_a_change_that_nobody_recorded_is_found_stale_and_healed(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'behind the back' WHERE id = 3"))
    checked = await verify_entries(stoker, 100)
    assert checked.counts[Verdict.STALE] == 1
    assert [str(key) for key in checked.stale] == ["note:3/detail"]
    published = await verified(stoker.cache.store.client, stoker.cache.store.keys)
    assert published.counts[Verdict.STALE] == 1
    assert published.stale_age_s > 0
    healed = await stoker.read("detail", 3, reader=7)
    assert (healed.state, healed.value) == (State.MISS, {"body": "behind the back"})


async def test_a_stale_entry_names_the_rows_and_transactions_that_may_be_the_reason(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(EARLIER)
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'behind the back' WHERE id = 3"))
        silent = await session.scalar(text("SELECT pg_current_xact_id()::text"))
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 4"))
        stoker.record(session, NoteChanged(note_id=5))  # of another note
        wrong = await session.scalar(text("SELECT pg_current_xact_id()::text"))
    await apply_all(stoker)
    checked = await verify_entries(stoker, 100)
    found = {str(key): (one.differs, one.suspects) for key, one in checked.stale.items()}
    nothing = "its table has no capture and no rule that covers it"
    assert found == {
        "note:3/detail": (
            ["body"],
            [f"notes(id=3) was written by transaction {silent}, whose id no event has; {nothing}"],
        ),
        "note:4/detail": (
            ["body"],
            [f"notes(id=4) was written by transaction {wrong}, which recorded note.changed; {nothing}"],
        ),
    }


async def test_a_row_that_is_gone_has_no_suspect(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text("DELETE FROM notes WHERE id = 3"))
    checked = await verify_entries(stoker, 100)
    (stale,) = checked.stale.values()
    assert (stale.differs, [one for one in stale.suspects if "notes(" in one]) == (["all of it"], [])


@pytest.mark.parametrize(
    ("held", "now", "places"),
    [
        ({"a": 1}, {"a": 1}, set()),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, {"a.b[1].c"}),
        ({"a": [1]}, {"a": [1, 2], "d": 1}, {"a", "d"}),
        ([1], {"a": 1}, {"all of it"}),
    ],
)
def test_differences_are_named_by_their_places(held: object, now: object, places: set[str]) -> None:
    assert set(differences(held, now)) == places


async def test_a_change_that_is_applied_meanwhile_is_not_stale(stoker: Stoker, notes: Notes) -> None:
    held = notes.hold_before("detail")
    checking = asyncio.create_task(verify_entries(stoker, 100))
    await held.reached.wait()  # the entries were read, SQL not yet
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 2"))
        stoker.record(session, NoteChanged(note_id=2))
    await apply_all(stoker)
    held.release()
    checked = await checking
    assert checked.counts == {Verdict.RIGHT: 4, Verdict.CHANGED: 1}
    assert not checked.stale


async def test_a_change_that_waits_in_the_outbox_is_left_undecided(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.handlers.verify.SETTLE_LIMIT_S", 0.0)
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 2"))
        stoker.record(session, NoteChanged(note_id=2))
    checked = await verify_entries(stoker, 100)
    assert checked.counts == {Verdict.RIGHT: 4, Verdict.UNDECIDED: 1}
