"""Is the cache right, is it warm, is the worker keeping up: one answer, with what is wrong said in words.

Every part stands alone: a server that is away leaves its part out and is named, the rest is shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy import text

from jobs.connections import database_errors
from jobs.errors import Unavailable
from jobs.stoker import Stoker
from worker.history.charts import LATELY, Row, Sums, hit_rate, hits_and_misses, misses, sums, waits
from worker.history.figures import WORKER
from worker.history.series import quantile
from worker.operations.figures import (
    ChangeFigures,
    LaneFigures,
    VerifiedFigures,
    change_figures,
    lane_figures,
    verified_figures,
    view_counters,
)
from worker.telemetry.health import Health, examine, probes

T = TypeVar("T")

SLOW_CHANGE_S, LOST_CHANGE_S = 5, 30
"""Age of the oldest event that is not applied from which it is remarked upon, and from which it is wrong."""
LONG_WAIT_S = {"changes": 5, "refresh": 30, "warm": 600}
"""Age of a lane's oldest ready job from which it is remarked upon."""
SILENT_WORKER_S = 45
"""Seconds after which a worker that has not reported counts as gone."""
COLD, COLD_READS = 0.5, 200
"""Hit rate of the last hour below which a view counts as cold, if it was read so often."""

LAST = text(
    "SELECT (SELECT max(id) FROM job_history) AS jobs, (SELECT max(id) FROM dead_jobs) AS dead,"
    " (SELECT max(id) FROM audit_log) AS audit,"
    " (SELECT extract(epoch FROM max(settled_at)) FROM cache_events WHERE settled_at IS NOT NULL) AS applied,"
    " (SELECT max(id) FROM cache_events) AS recorded"
)
WORKERS = text(
    "SELECT substr(series, :from) AS name, extract(epoch FROM clock_timestamp() - at) AS silent_s"
    " FROM figure_marks WHERE series LIKE :workers AND at > clock_timestamp() - interval '10 minutes'"
    " ORDER BY series LIMIT 100"
)


class Verdict(StrEnum):
    """All in all."""

    WELL = "well"
    WATCH = "watch"
    """Something is worth a look."""
    WRONG = "wrong"
    """Something is broken, or is about to be."""


class Concern(BaseModel):
    """One thing to look at. `about`: servers, right, warm or worker."""

    verdict: Verdict
    about: str
    says: str


class ViewNow(BaseModel):
    """One view over the last hour; `hit_rate` and `build_ms` are None without reads or builds."""

    reads: int
    hits: int
    hit_rate: float | None
    misses: dict[str, int]
    stale: int
    loads: int
    build_ms: float | None
    reads_ever: int


class LaneNow(LaneFigures):
    """One lane now; rates and waits over the last five minutes, waits None without jobs."""

    done_per_minute: float
    failed_per_minute: float
    wait_p50_s: float | None
    wait_p99_s: float | None


class WorkerSeen(BaseModel):
    """A worker process, and for how long it has said nothing."""

    name: str
    silent_s: float
    gone: bool


class Overview(BaseModel):
    """The whole picture. `last`: marks that change when there is news to be listed."""

    at: datetime
    verdict: Verdict
    concerns: list[Concern]
    health: Health
    changes: ChangeFigures | None
    verified: VerifiedFigures | None
    hit_rate: float | None
    views: dict[str, ViewNow] | None
    lanes: dict[str, LaneNow] | None
    workers: list[WorkerSeen] | None
    last: dict[str, float]


async def overview(stoker: Stoker, timeout_s: float) -> Overview:
    """Everything now."""
    health = await examine(probes(stoker), timeout_s)
    up = {name for name, server in health.servers.items() if server.ok}
    grown = await _unless_away(sums(stoker.engine)) if "database" in up else None
    lanes = await _unless_away(lane_figures(stoker)) if {"queue", "database"} <= up else None
    views = await _unless_away(_views(stoker, grown)) if "cache" in up else None
    shown = Overview(
        at=datetime.now(UTC),
        verdict=Verdict.WELL,
        concerns=[],
        health=health,
        changes=await _unless_away(change_figures(stoker)) if "database" in up else None,
        verified=await _unless_away(verified_figures(stoker)) if "cache" in up else None,
        hit_rate=None
        if grown is None
        else _rounded(hit_rate(grown.hour, sorted(stoker.domain.views_by_name))),
        views=views,
        lanes=None if lanes is None else {name: _lane(name, found, grown) for name, found in lanes.items()},
        workers=await _unless_away(_workers(stoker)) if "database" in up else None,
        last=(await _unless_away(_last(stoker)) if "database" in up else None) or {},
    )
    concerns = sorted(_concerns(shown), key=lambda concern: concern.verdict is not Verdict.WRONG)
    worst = concerns[0].verdict if concerns else Verdict.WELL
    return shown.model_copy(update={"concerns": concerns, "verdict": worst})


async def _unless_away(figures: Awaitable[T]) -> T | None:
    try:
        return await figures
    except Unavailable:
        return None


async def _views(stoker: Stoker, grown: Sums | None) -> dict[str, ViewNow]:
    ever = await view_counters(stoker)
    hour: Row = grown.hour if grown is not None else {}
    return {name: _view(name, hour, counters) for name, counters in ever.items()}


def _view(name: str, hour: Row, ever: Mapping[str, int]) -> ViewNow:
    hits, missed = hits_and_misses(hour, name)
    loads, load_us = hour.get(f"view:{name}:loads", 0), hour.get(f"view:{name}:load_us", 0)
    return ViewNow(
        reads=round(hits + missed),
        hits=round(hits),
        hit_rate=_rounded(hit_rate(hour, [name])),
        misses={cause: round(n) for cause, n in sorted(misses(hour, name).items())},
        stale=round(hour.get(f"view:{name}:stale", 0)),
        loads=round(loads),
        build_ms=round(load_us / loads / 1000, 2) if loads else None,
        reads_ever=sum(n for what, n in ever.items() if what == "hits" or what.startswith("miss_")),
    )


def _lane(name: str, found: LaneFigures, grown: Sums | None) -> LaneNow:
    lately: Row = grown.lately if grown is not None else {}
    minutes = LATELY.total_seconds() / 60
    waited = waits(lately, name)
    return LaneNow(
        **found.model_dump(),
        done_per_minute=round(lately.get(f"lane:{name}:done", 0) / minutes, 2),
        failed_per_minute=round(lately.get(f"lane:{name}:failed", 0) / minutes, 2),
        wait_p50_s=_rounded(quantile(waited, 0.5)),
        wait_p99_s=_rounded(quantile(waited, 0.99)),
    )


async def _workers(stoker: Stoker) -> list[WorkerSeen]:
    values = {"from": len(WORKER) + 1, "workers": f"{WORKER}%"}
    with database_errors():
        async with stoker.engine.connect() as connection:
            rows = (await connection.execute(WORKERS, values)).all()
    return [
        WorkerSeen(name=row.name, silent_s=round(float(row.silent_s), 1), gone=row.silent_s > SILENT_WORKER_S)
        for row in rows
    ]


async def _last(stoker: Stoker) -> dict[str, float]:
    with database_errors():
        async with stoker.engine.connect() as connection:
            row = (await connection.execute(LAST)).one()
    return {name: float(value or 0) for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's


def _concerns(shown: Overview) -> Iterator[Concern]:
    for name, server in shown.health.servers.items():
        if not server.ok:
            yield Concern(verdict=Verdict.WRONG, about="servers", says=f"{_server(name)} does not answer")
    yield from _about_right(shown)
    yield from _about_warm(shown)
    yield from _about_worker(shown)


def _about_right(shown: Overview) -> Iterator[Concern]:
    changes, verified = shown.changes, shown.verified
    if changes is not None and changes.oldest_age_s > SLOW_CHANGE_S:
        verdict = Verdict.WRONG if changes.oldest_age_s > LOST_CHANGE_S else Verdict.WATCH
        oldest = _duration(changes.oldest_age_s)
        says = f"{_count(changes.unsettled, 'change')} not applied, the oldest for {oldest}"
        yield Concern(verdict=verdict, about="right", says=says)
    if changes is not None and changes.failing:
        says = f"{_count(changes.failing, 'change')} failed and will be tried again"
        yield Concern(verdict=Verdict.WRONG, about="right", says=says)
    if verified is not None and verified.stale:
        says = f"{_count(verified.stale, 'entry', 'entries')} found stale when compared with SQL"
        yield Concern(verdict=Verdict.WRONG, about="right", says=says)


def _about_warm(shown: Overview) -> Iterator[Concern]:
    for name, view in (shown.views or {}).items():
        if view.hit_rate is not None and view.hit_rate < COLD and view.reads >= COLD_READS:
            says = f"{name} is cold: {view.hit_rate:.0%} of {view.reads:,} reads in the last hour were hits"
            yield Concern(verdict=Verdict.WATCH, about="warm", says=says)


def _about_worker(shown: Overview) -> Iterator[Concern]:
    if shown.workers is not None and all(worker.gone for worker in shown.workers):
        yield Concern(
            verdict=Verdict.WRONG, about="worker", says="no worker reports: start one, or look at its log"
        )
    for name, lane in (shown.lanes or {}).items():
        if lane.paused:
            yield Concern(verdict=Verdict.WATCH, about="worker", says=f"lane {name} is paused")
        elif lane.oldest_ready_age_s > LONG_WAIT_S.get(name, SLOW_CHANGE_S):
            says = f"lane {name} is behind: its oldest job waits for {_duration(lane.oldest_ready_age_s)}"
            yield Concern(verdict=Verdict.WATCH, about="worker", says=says)
        if lane.dead:
            yield Concern(
                verdict=Verdict.WATCH, about="worker", says=f"{_count(lane.dead, 'dead letter')} in {name}"
            )
        if lane.parked:
            says = f"{_count(lane.parked, 'job')} in {name} of a contract that no worker knows"
            yield Concern(verdict=Verdict.WATCH, about="worker", says=says)


def _server(name: str) -> str:
    return {"database": "Postgres", "queue": "the queue Redis", "cache": "the cache Redis"}.get(name, name)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
