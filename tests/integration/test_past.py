"""Since when reads of a view are slow, from the figures that were kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from stoker.errors import UnknownView
from stoker.history.charts import Length
from stoker.operations.past import reads_over_time
from stoker.stoker import Stoker
from tests.support.notes import Notes
from tests.support.place import Place

FAST, SLOW = ("0.005", 0.004), ("2.5", 1.9)
MINUTES_BACK = 12
READ = text(
    "INSERT INTO stoker.figure_history (span_s, at, series, gauge, value) VALUES"
    " (60, :at, 'view:detail:read:' || :bucket, false, 10),"
    " (60, :at, 'view:detail:took:' || :bucket, false, 10 * CAST(:took_s AS float)),"
    " (60, :at, 'view:detail:hits', false, 10)"
)


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), Notes().domain) as opened:
        yield opened


async def read_minutes(stoker: Stoker, *minutes: tuple[str, float] | None) -> datetime:
    """Keep a read time for each minute since twelve minutes ago; None: nobody read. Returns the first one."""
    first = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=MINUTES_BACK)
    async with stoker.engine.begin() as connection:
        for number, read in enumerate(minutes):
            if read is not None:
                given = {"at": first + timedelta(minutes=number), "bucket": read[0], "took_s": read[1]}
                await connection.execute(READ, given)
    return first


@pytest.mark.parametrize(
    ("minutes", "slow_from"),
    [
        ((FAST, SLOW, FAST, SLOW, SLOW), 3),
        ((FAST, SLOW, None, SLOW), 1),
        ((SLOW, SLOW, FAST), None),
        ((), None),
    ],
)
async def test_reads_are_slow_since_the_last_step_that_was_not(
    stoker: Stoker, minutes: tuple[tuple[str, float] | None, ...], slow_from: int | None
) -> None:
    first = await read_minutes(stoker, *minutes)
    found = await reads_over_time(stoker, "detail", Length.HOUR)
    assert found.slow_since == (None if slow_from is None else first + timedelta(minutes=slow_from))
    assert [step.p99_s for step in found.steps if step.reads_per_minute] == [
        read[1] for read in minutes if read
    ]


async def test_a_view_may_have_a_limit_of_its_own(place: Place) -> None:
    settings = place.settings(watch={"slow_read_of_s": {"detail": 5}})
    async with Stoker.opened(settings, Notes().domain) as stoker:
        await read_minutes(stoker, SLOW, SLOW)
        found = await reads_over_time(stoker, "detail", Length.HOUR)
    assert (found.slow_from_s, found.slow_since) == (5, None)


async def test_a_view_that_does_not_exist_has_no_past(stoker: Stoker) -> None:
    with pytest.raises(UnknownView):
        await reads_over_time(stoker, "nothing", Length.HOUR)
