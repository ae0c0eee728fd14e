"""A burst is shared out: a relay that leaves events for another batch asks for one more relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stoker import Invalidation, Stoker
from stoker.handlers.relay import apply_all, apply_batch
from stoker.outbox.record import InvalidationRequested
from tests.support.engine_stage import eventually
from tests.support.notes import Notes, note
from tests.support.place import Place

BATCH = 20


@pytest.fixture
async def stoker(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stoker]:
    """Without a worker. Its commits do not ring."""
    async with Stoker.opened(place.settings(changes={"batch": BATCH}), Notes().domain) as stoker:
        rings = stoker.ringer.soon
        monkeypatch.setattr(stoker.ringer, "soon", lambda rows: rings(rows) if rows == [0] else None)
        yield stoker


async def record(stoker: Stoker, count: int) -> None:
    async with stoker.session() as session, session.begin():
        for note_id in range(count):
            stoker.record(session, InvalidationRequested.of([Invalidation(note(note_id))]))


async def test_a_relay_that_leaves_some_asks_for_another_one(stoker: Stoker) -> None:
    await record(stoker, 2 * BATCH + 1)
    assert not await stoker.queue.waits("changes")
    assert await apply_all(stoker) == 2 * BATCH + 1
    await eventually(lambda: stoker.queue.waits("changes"))


async def test_a_relay_that_applies_all_at_once_does_not(stoker: Stoker) -> None:
    await record(stoker, BATCH - 1)
    assert await apply_all(stoker) == BATCH - 1
    await stoker.ringer.close()  # waits for those under way
    assert not await stoker.queue.waits("changes")


async def test_two_relays_at_once_apply_each_event_once(stoker: Stoker) -> None:
    await record(stoker, 2 * BATCH)
    both = await asyncio.gather(apply_batch(stoker), apply_batch(stoker))
    assert [one.settled for one in both] == [BATCH, BATCH]
