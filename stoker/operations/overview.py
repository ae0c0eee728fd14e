"""The overview: whether the cache is right and warm and the worker keeps up, from all figures.

The parts are independent: if a server is away, its part is left out, the server is named, and the rest is
shown.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import text

from stoker.errors import Unavailable
from stoker.history.charts import LATELY, Row, Sums, hit_rate, of_view, sums, waits
from stoker.history.presence import SILENT_S, served_lanes, silences
from stoker.history.series import quantile
from stoker.operations import batches, lanes
from stoker.operations.batches import BatchShown
from stoker.operations.figures import ViewReads, verified_figures, view_counters
from stoker.operations.health import examine, probes
from stoker.operations.judgement import judged
from stoker.operations.lanes import LaneFigures
from stoker.operations.picture import LaneNow, Overview, ViewNow, WorkerSeen
from stoker.outbox.rows import backlog
from stoker.outbox.undelivered import undelivered
from stoker.postgres import fetched
from stoker.stoker import Stoker

T = TypeVar("T")
BATCHES = 10

LAST = text(
    "SELECT (SELECT max(id) FROM stoker.job_history) AS jobs, (SELECT max(id) FROM stoker.dead_jobs) AS dead,"
    " (SELECT max(id) FROM stoker.audit_log) AS audit,"
    " (SELECT extract(epoch FROM max(settled_at)) FROM stoker.cache_events"
    " WHERE settled_at IS NOT NULL) AS applied,"
    " (SELECT max(id) FROM stoker.cache_events) AS recorded"
)


async def overview(stoker: Stoker, timeout_s: float) -> Overview:
    """Gather all parts and judge them."""
    health = await examine(probes(stoker), timeout_s)
    up = {name for name, server in health.servers.items() if server.ok}
    grown = await _unless_away(sums(stoker.engine)) if "database" in up else None
    depths = await _unless_away(lanes.listing(stoker)) if {"queue", "database"} <= up else None
    views = await _unless_away(_views(stoker, grown)) if "cache" in up else None
    shown = Overview(
        at=datetime.now(UTC),
        health=health,
        changes=await _unless_away(backlog(stoker.engine)) if "database" in up else None,
        requests=await _unless_away(undelivered(stoker.engine)) if "database" in up else None,
        batches=await _unless_away(_batches(stoker)) if "queue" in up else None,
        verified=await _unless_away(verified_figures(stoker)) if "cache" in up else None,
        hit_rate=None
        if grown is None
        else _rounded(hit_rate(grown.hour, sorted(stoker.domain.views_by_name))),
        views=views,
        lanes=None
        if depths is None
        else {name: _lane(name, found, grown) for name, found in depths.lanes.items()},
        workers=await _unless_away(_workers(stoker)) if "database" in up else None,
        served=await _unless_away(served_lanes(stoker.engine)) if "database" in up else None,
        last=(await _unless_away(_last(stoker)) if "database" in up else None) or {},
    )
    return judged(shown)


async def _unless_away(figures: Awaitable[T]) -> T | None:
    try:
        return await figures
    except Unavailable:
        return None


async def _views(stoker: Stoker, grown: Sums | None) -> dict[str, ViewNow]:
    hour: Row = grown.hour if grown is not None else {}
    return {
        name: ViewNow.of(of_view(hour, name), reads_ever=ViewReads.of(counters).reads)
        for name, counters in (await view_counters(stoker)).items()
    }


async def _batches(stoker: Stoker) -> list[BatchShown]:
    found = (await batches.listing(stoker, BATCHES)).batches
    return [batch for batch in found if batch.ended_at is None]


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
    found = await silences(stoker.engine)
    return [
        WorkerSeen(name=name, silent_s=round(silent_s, 1), gone=silent_s > SILENT_S)
        for name, silent_s in found.items()
    ]


async def _last(stoker: Stoker) -> dict[str, float]:
    (row,) = await fetched(stoker.engine, LAST)
    return {name: float(value or 0) for name, value in row.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
