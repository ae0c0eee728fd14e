"""What operators ask, gathered from the servers: the same figures for API, CLI and metrics.

Reads counters and depths, never entries or payloads. Raises CacheUnavailable, QueueUnavailable or
DatabaseUnavailable; callers say what they show then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select, text

from stoker.cache.accounting import read_counters
from stoker.cache.verdicts import Verdict, verified
from stoker.jobs import Outcome
from stoker.outbox.rows import backlog
from stoker.postgres import database_errors
from stoker.stoker import Stoker
from stoker.tables import dead_jobs
from stoker.worker.engine import depth

MISS = "miss_"
"""What counters of misses begin with; the cause follows."""
LAST_SLOTS = text(
    "SELECT task, (SELECT done_at FROM stoker.schedule_slots AS slots"
    " WHERE slots.task = asked.task AND state = 'done' ORDER BY slot DESC LIMIT 1) AS at"
    " FROM unnest(CAST(:tasks AS text[])) AS asked (task)"
)


class ViewFigures(BaseModel):
    """One view over all processes. A hit is an answer without any SQL; rates are None without reads."""

    reads: int
    hits: int
    hit_rate: float | None
    misses: dict[str, int]
    stale: int
    loads: int
    load_errors: int
    build_ms: float | None
    stored: int
    superseded: int
    body_bytes: int
    stored_bytes: int

    @classmethod
    def of(cls, counters: Mapping[str, int]) -> ViewFigures:
        """The figures that a view's counters amount to."""
        misses = {name[len(MISS) :]: n for name, n in sorted(counters.items()) if name.startswith(MISS)}
        hits, loads = counters.get("hits", 0), counters.get("loads", 0)
        reads = hits + sum(misses.values())
        return cls(
            reads=reads,
            hits=hits,
            hit_rate=round(hits / reads, 4) if reads else None,
            misses=misses,
            stale=counters.get("stale", 0),
            loads=loads,
            load_errors=counters.get("load_errors", 0),
            build_ms=round(counters.get("load_us", 0) / loads / 1000, 3) if loads else None,
            stored=counters.get(Outcome.STORED, 0),
            superseded=counters.get(Outcome.SUPERSEDED, 0),
            body_bytes=counters.get("body_bytes", 0),
            stored_bytes=counters.get("stored_bytes", 0),
        )


class ChangeFigures(BaseModel):
    """The outbox: events that are not applied, those among them that failed, the oldest's age."""

    unsettled: int
    failing: int
    oldest_age_s: float
    applied_last_minute: int


class VerifiedFigures(BaseModel):
    """What comparing samples with SQL showed in the last days.

    `share` of the checked entries was not stale; `nines` is the same as nines (3.0 is 99.9 %), never more
    than so many entries can show. Both are None before the first check.
    """

    checked: int
    stale: int
    changed: int
    undecided: int
    stale_age_s: float
    share: float | None
    nines: float | None
    last_at: datetime | None


class CacheFigures(BaseModel):
    """Is the cache right (changes, verified), is it warm (views)."""

    views: dict[str, ViewFigures]
    changes: ChangeFigures
    verified: VerifiedFigures


class LaneFigures(BaseModel):
    """One lane: `ready` could begin now, `deferred` waits for its time, `parked` is of no known job.

    `slots`: what every worker was told to run at once, none where each one's settings count.
    """

    ready: int
    deferred: int
    running: int
    parked: int
    dead: int
    paused: bool
    oldest_ready_age_s: float
    slots: int | None
    totals: dict[str, int]


class DeadJob(BaseModel):
    """A job that will not run again by itself; without its payload."""

    id: int
    job_id: str
    lane: str
    kind: str
    reason: str
    error: str
    fingerprint: str
    attempts: int
    died_at: datetime


async def view_counters(stoker: Stoker, *others: str) -> Mapping[str, Mapping[str, int]]:
    """The raw counters of every view, and of what else is counted."""
    store = stoker.cache.store
    return await read_counters(store.client, store.keys, [*sorted(stoker.domain.views_by_name), *others])


async def change_figures(stoker: Stoker) -> ChangeFigures:
    """What the outbox says."""
    found = asdict(await backlog(stoker.engine))
    return ChangeFigures(**{name: found[name] for name in ChangeFigures.model_fields})


async def cache_figures(stoker: Stoker) -> CacheFigures:
    """Every view's figures and the outbox's."""
    counters = await view_counters(stoker)
    return CacheFigures(
        views={name: ViewFigures.of(found) for name, found in counters.items()},
        changes=await change_figures(stoker),
        verified=await verified_figures(stoker),
    )


async def verified_figures(stoker: Stoker) -> VerifiedFigures:
    """What the verifier published."""
    store = stoker.cache.store
    found = await verified(store.client, store.keys)
    return VerifiedFigures(
        checked=found.checked,
        stale=found.counts[Verdict.STALE],
        changed=found.counts[Verdict.CHANGED],
        undecided=found.counts[Verdict.UNDECIDED],
        stale_age_s=found.stale_age_s,
        share=found.share,
        nines=found.nines,
        last_at=found.last_at,
    )


async def lane_figures(stoker: Stoker) -> dict[str, LaneFigures]:
    """Every lane's depth, and how many of its jobs are dead."""
    depths = await depth.depth(stoker.queue)
    dead = await _dead_by_lane(stoker)
    return {
        str(lane): LaneFigures(dead=dead.get(str(lane), 0), **_plain(found)) for lane, found in depths.items()
    }


async def last_slots(stoker: Stoker, tasks: Iterable[str]) -> dict[str, datetime]:
    """When each task of the schedule was last enqueued; those that never were are left out."""
    with database_errors():
        async with stoker.engine.connect() as connection:
            found = await connection.execute(LAST_SLOTS, {"tasks": list(tasks)})
            return {row.task: row.at for row in found if row.at is not None}


async def dead_list(
    stoker: Stoker, limit: int, before: int | None = None, fingerprint: str | None = None
) -> list[DeadJob]:
    """Dead jobs, the latest first; `before` is the id at which the last page ended."""
    columns = [dead_jobs.c[name] for name in DeadJob.model_fields]
    query = select(*columns).order_by(dead_jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(dead_jobs.c.id < before)
    if fingerprint is not None:
        query = query.where(dead_jobs.c.fingerprint == fingerprint)
    with database_errors():
        async with stoker.engine.connect() as connection:
            return [DeadJob(**row) for row in (await connection.execute(query)).mappings()]


async def _dead_by_lane(stoker: Stoker) -> dict[str, int]:
    query = select(dead_jobs.c.lane, func.count()).group_by(dead_jobs.c.lane)
    with database_errors():
        async with stoker.engine.connect() as connection:
            return {row.lane: int(row[1]) for row in await connection.execute(query)}


def _plain(found: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass of the engine
    return {name: value for name, value in asdict(found).items() if name in LaneFigures.model_fields}
