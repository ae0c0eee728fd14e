"""The headline of the overview, on real servers: what readers got, whatever the hit rate says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from stoker.history.figures import FigureHistory
from stoker.history.sampler import Sampler
from stoker.operations.overview import overview
from stoker.operations.picture import Overview, Verdict
from stoker.stoker import Stoker
from tests.support.notes import Notes, note, write_notes
from tests.support.place import Place

LIMIT_S = 30
READS = 20
PATIENT = {"stats_flush_s": 3600, "timeout_s": 10}
"""Settings of the cache: a busy machine may take longer than half a second for one call."""


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def stoker(place: Place, notes: Notes) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(cache=PATIENT), notes.domain) as opened:
        async with opened.session() as session, session.begin():
            await write_notes(session, READS)
        for number in range(1, READS + 1):
            await opened.read("detail", number, reader=7)
        await told(opened)
        yield opened


async def told(stoker: Stoker) -> Overview:
    """The overview after everything that was counted is in the history."""
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    await Sampler(stoker, FigureHistory(stoker.engine), timedelta(0)).sample()
    return await overview(stoker, LIMIT_S)


async def read_all(stoker: Stoker, *, failing: int) -> None:
    for number in range(1, READS + 1):
        bypass = number <= failing
        try:
            await stoker.read("detail", number, reader=7, bypass=bypass)
        except RuntimeError:
            assert bypass


async def test_failing_reads_are_the_headline_though_the_others_are_hits(
    stoker: Stoker, notes: Notes
) -> None:
    notes.failing["detail"] = RuntimeError("boom")
    await read_all(stoker, failing=3)
    shown = await told(stoker)
    assert shown.verdict is Verdict.WRONG
    assert shown.says == "15 % of 20 reads of detail failed in the last 5 minutes"
    assert shown.answered is not None
    assert (shown.answered["detail"].errors, shown.answered["detail"].reads) == (3, READS)
    assert shown.answered["summary"].reads == 0


async def test_outdated_answers_and_reads_past_the_cache_are_told_apart(stoker: Stoker, notes: Notes) -> None:
    await read_all(stoker, failing=2)
    for number in (9, 10):
        await stoker.cache.store.unlink({stoker.cache.store.keys.stamp(note(number), "detail")})
    notes.failing["detail"] = RuntimeError("boom")
    for number in (9, 10):
        await stoker.read("detail", number, reader=7)
    shown = await told(stoker)
    says = [concern.says for concern in shown.concerns if concern.about == "users"]
    assert says == [
        "9.1 % of 22 reads of detail got an outdated value in the last 5 minutes: its loader fails",
        "9.1 % of 22 reads of detail went to SQL past the cache in the last 5 minutes",
    ]


async def test_reads_are_slow_by_the_limit_of_their_view(place: Place, notes: Notes) -> None:
    strict = place.settings(watch={"slow_read_of_s": {"detail": 1e-6}}, cache=PATIENT)
    async with Stoker.opened(strict, notes.domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 1)
        await told(stoker)
        await stoker.read("detail", 1, reader=7)
        await stoker.read("summary", 1, reader=7)
        shown = await told(stoker)
        says = [concern.says for concern in shown.concerns if concern.about == "users"]
    assert len(says) == 1, shown.answered
    assert says[0].startswith("reads of detail are slow: p99 ")
