"""Figures over time for charts: aligned to steps, bounded in number, None where nothing was kept.

Raises DatabaseUnavailable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.history.figures import MINUTE
from stoker.history.marks import SERVERS, ChartMark, marks
from stoker.history.series import ERRORS, MISS, READ, TOOK, WAIT, WAITED, parts, quantile
from stoker.postgres import database_errors

ROWS = text(
    "SELECT series, date_bin(CAST(:step AS interval), at, 'epoch') AS begun,"
    " CASE WHEN bool_or(gauge) THEN max(value) ELSE sum(value) END AS value"
    " FROM stoker.figure_history WHERE span_s = :span_s AND at >= :since GROUP BY series, begun"
)
SUMS = text(
    "SELECT series, sum(value) FILTER (WHERE at >= clock_timestamp() - CAST(:short AS interval)) AS lately,"
    " sum(value) AS hour FROM stoker.figure_history"
    " WHERE span_s = 60 AND NOT gauge AND at >= clock_timestamp() - interval '60 minutes' GROUP BY series"
)
LATELY = timedelta(minutes=5)
"""The time over which current throughput and waits are computed."""

CACHE_SAMPLED = "server:cache:used_bytes"
"""The series that each sample of the cache Redis has, whatever was read."""

Row = Mapping[str, float]
Points = list[float | None]


class Length(StrEnum):
    """How far back a chart goes."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True)
class Window:
    """How one chart length is read: from rows of which span, in steps of which length."""

    span_s: int
    back: timedelta
    step: timedelta


WINDOWS = {
    Length.HOUR: Window(60, timedelta(hours=1), timedelta(minutes=1)),
    Length.DAY: Window(60, timedelta(days=1), timedelta(minutes=10)),
    Length.MONTH: Window(3600, timedelta(days=30), timedelta(hours=6)),
    Length.YEAR: Window(86400, timedelta(days=365), timedelta(days=1)),
}


class LaneCharts(BaseModel):
    """One lane. Waits in seconds, ends in jobs a minute."""

    ready: Points
    oldest_s: Points
    done_per_minute: Points
    failed_per_minute: Points
    wait_p50_s: Points
    wait_p99_s: Points


class ViewCharts(BaseModel):
    """One view: reads a minute, the share of them that needed no SQL, failed ones, and how long they took."""

    reads_per_minute: Points
    hit_rate: Points
    errors_per_minute: Points
    read_p50_s: Points
    read_p99_s: Points


class Gap(BaseModel):
    """A time without all figures, in seconds since 1970, and why they are missing."""

    begun: int
    ended: int
    why: str


class Charts(BaseModel):
    """Everything over one length; `at` are the beginnings of whole steps, in seconds since 1970.

    The step that is not over is left out: what was counted so far is not what the step will have.
    """

    length: Length
    step_s: float
    at: list[int]
    gaps: list[Gap]
    marks: list[ChartMark]
    lanes: dict[str, LaneCharts]
    views: dict[str, ViewCharts]
    hit_rate: Points
    misses_per_minute: dict[str, Points]
    unsettled: Points
    oldest_unsettled_s: Points
    applied_per_minute: Points


@dataclass(frozen=True)
class Sums:
    """The growth of counters: lately, and in the last hour."""

    lately: Row
    hour: Row


async def sums(engine: AsyncEngine) -> Sums:
    """The counters' growth up to now."""
    with database_errors():
        async with engine.connect() as connection:
            rows = (await connection.execute(SUMS, {"short": LATELY})).all()
    return Sums(
        lately={row.series: row.lately for row in rows if row.lately is not None},
        hour={row.series: row.hour for row in rows},
    )


async def charts(engine: AsyncEngine, length: Length, now: datetime | None = None) -> Charts:
    """Everything that was kept over a length of time."""
    window = WINDOWS[length]
    step_s = int(window.step.total_seconds())
    moment = (now or datetime.now(UTC)).timestamp()
    end = int(moment) // step_s * step_s - step_s
    begin = end - int(window.back.total_seconds()) + step_s
    with database_errors():
        async with engine.connect() as connection:
            found = await connection.execute(
                ROWS,
                {
                    "step": window.step,
                    "span_s": window.span_s,
                    "since": datetime.fromtimestamp(begin, UTC),
                },
            )
            rows: dict[int, dict[str, float]] = defaultdict(dict)
            for series, begun, value in found:
                rows[int(begun.timestamp())][series] = value
    at = list(range(begin, end + step_s, step_s))
    found_marks = await marks(engine, datetime.fromtimestamp(begin, UTC))
    return _charts(length, step_s, at, _Drawer([rows.get(begun, {}) for begun in at], step_s), found_marks)


class _Drawer:
    """Turns rows into points, one for each step."""

    def __init__(self, rows: Sequence[Row], step_s: int) -> None:
        self.rows = rows
        self._minutes = step_s / 60

    def points(self, subject: str, value: Callable[[Row], float | None]) -> Points:
        """A value for each step; None where nothing was sampled of its subject."""
        return [_rounded(value(row)) if is_sampled(row, subject) else None for row in self.rows]

    def gauge(self, series: str) -> Points:
        """A gauge's maximum."""
        return self.points(parts(series)[0], lambda row: row.get(series))

    def rate(self, *series: str) -> Points:
        """Counters together, a minute."""
        subject = parts(series[0])[0] if series else "view"
        return self.per_minute(subject, lambda row: sum(row.get(one, 0) for one in series))

    def per_minute(self, subject: str, value: Callable[[Row], float]) -> Points:
        """A sum for each step, a minute."""
        return self.points(subject, lambda row: value(row) / self._minutes)

    def lane(self, lane: str) -> LaneCharts:
        """The charts of a lane."""
        return LaneCharts(
            ready=self.gauge(f"lane:{lane}:ready"),
            oldest_s=self.gauge(f"lane:{lane}:oldest_s"),
            done_per_minute=self.rate(f"lane:{lane}:done"),
            failed_per_minute=self.rate(f"lane:{lane}:failed"),
            wait_p50_s=self.points("lane", lambda row: wait(row, lane, 0.5)),
            wait_p99_s=self.points("lane", lambda row: wait(row, lane, 0.99)),
        )

    def view(self, view: str) -> ViewCharts:
        """The charts of a view."""
        return ViewCharts(
            reads_per_minute=self.per_minute("view", lambda row: sum(hits_and_misses(row, view))),
            hit_rate=self.points("view", lambda row: hit_rate(row, [view])),
            errors_per_minute=self.rate(f"view:{view}:{ERRORS}"),
            read_p50_s=self.points("view", lambda row: read_time(row, view, 0.5)),
            read_p99_s=self.points("view", lambda row: read_time(row, view, 0.99)),
        )


def is_sampled(row: Row, subject: str) -> bool:
    """Whether a subject (lane, view, changes) was sampled: a counter that did not grow leaves no row."""
    return (subject == "view" and CACHE_SAMPLED in row) or any(
        series.startswith(f"{subject}:") for series in row
    )


def gaps(at: Sequence[int], rows: Sequence[Row], step_s: int) -> list[Gap]:
    """Steps between the first and the last that have figures in which some are missing, and why."""
    kept = [place for place, row in enumerate(rows) if row]
    found: list[Gap] = []
    for place in range(kept[0], len(rows)) if kept else ():
        why = _missing(rows[place], step_s)
        if why is None:
            continue
        if found and found[-1].ended == at[place] and found[-1].why == why:
            found[-1] = found[-1].model_copy(update={"ended": at[place] + step_s})
        else:
            found.append(Gap(begun=at[place], ended=at[place] + step_s, why=why))
    return found


def _missing(row: Row, step_s: int) -> str | None:
    if not row:
        return "no figures: neither a worker nor an API process ran, or Postgres was away"
    down = [name for server, name in SERVERS.items() if f"server:{server}:down" in row]
    part = " for a part of it" if step_s > MINUTE.seconds else ""
    return f"{' and '.join(down)} did not answer{part}" if down else None


def _charts(length: Length, step_s: int, at: list[int], draw: _Drawer, happened: list[ChartMark]) -> Charts:
    rows = draw.rows
    known = sorted({parts(series) for row in rows for series in row})
    lanes = sorted({which for subject, which, _ in known if subject == "lane"})
    views = sorted({which for subject, which, _ in known if subject == "view"})
    causes = sorted({what[len(MISS) :] for subject, _, what in known if subject == "view" and MISS in what})
    return Charts(
        length=length,
        step_s=step_s,
        at=at,
        gaps=gaps(at, rows, step_s),
        marks=happened,
        lanes={lane: draw.lane(lane) for lane in lanes},
        views={view: draw.view(view) for view in views},
        hit_rate=draw.points("view", lambda row: hit_rate(row, views)),
        misses_per_minute={
            cause: draw.rate(*(f"view:{view}:{MISS}{cause}" for view in views)) for cause in causes
        },
        unsettled=draw.gauge("changes::unsettled"),
        oldest_unsettled_s=draw.gauge("changes::oldest_s"),
        applied_per_minute=draw.rate("changes::applied"),
    )


def wait(row: Row, lane: str, share: float) -> float | None:
    """How long this share of a lane's jobs waited at most."""
    prefix = f"lane:{lane}:"
    return quantile(row, f"{prefix}{WAIT}", f"{prefix}{WAITED}", share)


def read_time(row: Row, view: str, share: float) -> float | None:
    """How long this share of a view's reads took at most."""
    prefix = f"view:{view}:"
    return quantile(row, f"{prefix}{READ}", f"{prefix}{TOOK}", share)


def of_view(row: Row, view: str) -> dict[str, float]:
    """A view's counters by their names."""
    prefix = f"view:{view}:"
    return {series[len(prefix) :]: value for series, value in row.items() if series.startswith(prefix)}


def hits_and_misses(row: Row, view: str) -> tuple[float, float]:
    """A view's reads that needed no SQL, and those that did."""
    counters = of_view(row, view)
    missed = sum(value for name, value in counters.items() if name.startswith(MISS))
    return counters.get("hits", 0), missed


def hit_rate(row: Row, views: list[str]) -> float | None:
    """The share of reads that needed no SQL; None without reads."""
    both = [hits_and_misses(row, view) for view in views]
    hits, missed = sum(one[0] for one in both), sum(one[1] for one in both)
    return hits / (hits + missed) if hits + missed else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
