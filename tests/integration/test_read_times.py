"""How long reads took is counted by view and state: in every process, also for those that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stoker import NotFound, State, SyncStoker
from stoker.cache.accounting import ERROR, READ, observed
from stoker.cache.lookup import Asked
from stoker.history.sampler import STATES
from stoker.operations.figures import view_counters
from stoker.stoker import Stoker
from tests.support.notes import Notes, note, write_notes
from tests.support.place import Place

READER = 7


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def stoker(place: Place, notes: Notes) -> AsyncIterator[Stoker]:
    settings = place.settings(cache={"stats_flush_s": 3600, "near_bytes": 0})
    async with Stoker.opened(settings, notes.domain) as opened:
        async with opened.session() as session, session.begin():
            await write_notes(session, 9, reader_id=READER)
        yield opened


async def counted(stoker: Stoker, view: str = "detail") -> dict[str, int]:
    """How many reads of a view were timed, by state; those without any are left out."""
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    counters = (await view_counters(stoker))[view]
    found = {str(state): sum(observed(counters, f"{READ}{state}").buckets.values()) for state in STATES}
    return {state: number for state, number in found.items() if number}


async def test_reads_are_timed_by_what_became_of_them(stoker: Stoker, notes: Notes) -> None:
    for _ in range(3):
        await stoker.read("detail", 1, reader=READER)
    await stoker.read("detail", 1, reader=READER, bypass=True)
    notes.failing["detail"] = RuntimeError("boom")
    with pytest.raises(RuntimeError):
        await stoker.read("detail", 2, reader=READER)
    with pytest.raises(NotFound):
        await stoker.read("detail", 999, reader=READER)
    assert await counted(stoker) == {State.HIT: 2, State.MISS: 1, State.BYPASS: 1, ERROR: 1}


async def test_a_stale_answer_is_timed_as_such(stoker: Stoker, notes: Notes) -> None:
    await stoker.read("detail", 1, reader=READER)
    await stoker.cache.store.unlink({stoker.cache.store.keys.stamp(note(1), "detail")})
    notes.failing["detail"] = RuntimeError("boom")
    assert (await stoker.read("detail", 1, reader=READER)).state is State.STALE
    assert await counted(stoker) == {State.MISS: 1, State.STALE: 1}


async def test_many_reads_at_once_are_each_timed(stoker: Stoker) -> None:
    asked = [Asked("detail", number) for number in (1, 2, 3)]
    await stoker.read_many(asked, reader=READER)
    await stoker.read_many([*asked, Asked("detail", 999)], reader=READER)
    assert await counted(stoker) == {State.MISS: 3, State.HIT: 3}
    stoker.cache.breaker.trip("a test")
    await stoker.read_many(asked, reader=READER)
    assert (await counted(stoker))[State.BYPASS] == 3


async def test_a_time_lies_in_its_bucket_and_beside_its_sum(stoker: Stoker, notes: Notes) -> None:
    held = notes.hold_before("detail")
    reading = asyncio.create_task(stoker.read("detail", 1, reader=READER))
    await held.reached.wait()
    await asyncio.sleep(0.3)  # the time that is measured
    held.release()
    await reading
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    found = observed((await view_counters(stoker))["detail"], f"{READ}{State.MISS}")
    [(bound, seconds)] = [(bound, seconds) for bound, seconds in found.sums_s.items() if seconds]
    assert found.buckets[bound] == 1
    assert 0.3 <= seconds <= bound


async def test_hits_of_threads_are_timed(place: Place, notes: Notes, stoker: Stoker) -> None:
    def read() -> None:
        with SyncStoker(place.settings(), notes.domain) as opened:
            for _ in range(4):  # the third and fourth are read by the thread itself
                opened.read("detail", 1, reader=READER)

    await asyncio.to_thread(read)
    assert await counted(stoker) == {State.MISS: 1, State.HIT: 3}
