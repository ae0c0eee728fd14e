"""The table `figure_history`: add samples, count once over any number of workers, roll up, forget.

Raises DatabaseUnavailable; the caller then keeps or drops what was not added.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.history.presence import WORKER
from stoker.history.series import NOT_GROWING, Sample
from stoker.postgres import database_errors

ADD = text(files("stoker.history").joinpath("add_samples.sql").read_text())
ROLL_UP = text(files("stoker.history").joinpath("roll_up.sql").read_text())
SAMPLING = 0x5730CE13
"""Key of the advisory lock under which shared figures are sampled; an arbitrary constant."""
GAP = timedelta(minutes=2)
"""A mark older than this is renewed without counting: nobody sampled, or its server was away, and the growth
since then would show as a spike."""
OUTAGE = text(
    "INSERT INTO stoker.figure_history (span_s, at, series, gauge, value)"
    " SELECT 60, at, 'server:database:down', true, 1 FROM generate_series(date_trunc('minute',"
    " CAST(:begun AS timestamptz)), CAST(:ended AS timestamptz), interval '1 minute') AS at"
    " ON CONFLICT DO NOTHING"
)
"""Marks the minutes in which Postgres was away."""


@dataclass(frozen=True)
class Span:
    """One resolution: how long its rows are kept, and from which shorter one it is made."""

    seconds: int
    unit: str
    kept: timedelta


MINUTE = Span(60, "minute", timedelta(hours=26))
HOUR = Span(3600, "hour", timedelta(days=32))
DAY = Span(86400, "day", timedelta(days=732))


class Marks:
    """The last counted values, held under the lock: one worker samples at a time, nothing counts twice."""

    def __init__(
        self, connection: AsyncConnection, known: Mapping[str, float], since: datetime | None
    ) -> None:
        self._connection = connection
        self.known = known
        self.since = since
        """When it was last marked; None if nothing can be counted from there."""

    async def move(self, counters: Mapping[str, float]) -> None:
        """Mark where the counters stand now."""
        await self._connection.execute(
            text(
                "INSERT INTO stoker.figure_marks (series, value, at)"
                " SELECT series, value, clock_timestamp()"
                " FROM unnest(CAST(:series AS varchar[]), CAST(:values AS float8[])) AS mark (series, value)"
                " ON CONFLICT (series) DO UPDATE SET value = excluded.value, at = excluded.at"
            ),
            {"series": list(counters), "values": list(counters.values())},
        )

    async def add(self, samples: Sequence[Sample]) -> None:
        """Add samples in the same transaction."""
        await _add(self._connection, samples)


class FigureHistory:
    """Figures over time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, samples: Sequence[Sample]) -> None:
        """Add the figures of one worker."""
        with database_errors():
            async with self._engine.begin() as connection:
                await _add(connection, samples)

    @asynccontextmanager
    async def sampling(self, at_most_every: timedelta) -> AsyncIterator[Marks | None]:
        """The marks, if it is this worker's turn; None if another one samples or has just done so."""
        with database_errors():
            async with self._engine.begin() as connection:
                lock = text("SELECT pg_try_advisory_xact_lock(:key)")
                if not await connection.scalar(lock, {"key": SAMPLING}):
                    yield None
                    return
                rows = (
                    await connection.execute(
                        text(
                            "SELECT series, value, at, clock_timestamp() - at AS age FROM stoker.figure_marks"
                            " WHERE series NOT LIKE :workers"
                        ),
                        {"workers": f"{WORKER}%"},
                    )
                ).all()
                youngest = min((row.age for row in rows), default=GAP)
                if youngest < at_most_every:
                    yield None
                    return
                fresh = [row for row in rows if row.age < GAP]
                yield Marks(
                    connection,
                    {
                        row.series: row.value
                        for row in rows
                        if row.age < GAP or row.series.endswith(NOT_GROWING)
                    },
                    max((row.at for row in fresh), default=None),
                )

    async def note_outage(self, begun: datetime, ended: datetime) -> None:
        """Note the minutes in which Postgres could not be asked, now that it can; a day of them at most."""
        begun = max(begun, ended - MINUTE.kept)
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(OUTAGE, {"begun": begun, "ended": ended})

    async def roll_up(self, since: timedelta) -> None:
        """Compute hours and days anew from `since` ago on."""
        with database_errors():
            for shorter, longer, back in (
                # Not from before the oldest kept minute: part of an hour would replace the whole one.
                (MINUTE, HOUR, min(since, MINUTE.kept - timedelta(hours=2))),
                (HOUR, DAY, since + timedelta(days=1)),
            ):
                async with self._engine.begin() as connection:
                    now = await connection.scalar(text("SELECT clock_timestamp()"))
                    await connection.execute(
                        ROLL_UP,
                        {
                            "from_s": shorter.seconds,
                            "to_s": longer.seconds,
                            "unit": longer.unit,
                            "since": now - back,
                        },
                    )

    async def forget(self) -> None:
        """Delete rows past the keeping time of their span, and workers that have long been gone."""
        with database_errors():
            async with self._engine.begin() as connection:
                for span in (MINUTE, HOUR, DAY):
                    await connection.execute(
                        text(
                            "DELETE FROM stoker.figure_history"
                            " WHERE span_s = :span_s AND at < clock_timestamp() - CAST(:kept AS interval)"
                        ),
                        {"span_s": span.seconds, "kept": span.kept},
                    )
                await connection.execute(
                    text("DELETE FROM stoker.figure_marks WHERE at < clock_timestamp() - interval '1 day'")
                )


async def _add(connection: AsyncConnection, samples: Sequence[Sample]) -> None:
    if not samples:
        return
    await connection.execute(
        ADD,
        {
            "series": [sample.series for sample in samples],
            "gauges": [sample.gauge for sample in samples],
            "values": [float(sample.value) for sample in samples],
        },
    )
