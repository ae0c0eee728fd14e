"""Workers: which processes run, what each does; keep one quiet. And capacity: whether they are enough.

Utilisation is measured by the workers themselves, as slot-seconds that ran a job. Raises NotFound,
DatabaseUnavailable or QueueUnavailable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel
from sqlalchemy import RowMapping, bindparam, text, update

from stoker.errors import NotFound
from stoker.history.presence import SILENT_S
from stoker.history.roster import BUSY, SLOTS
from stoker.history.series import name
from stoker.operations.audit import Actor, acting
from stoker.postgres import fetched
from stoker.stoker import Stoker
from stoker.tables import workers as table
from stoker.worker.engine.depth import depth

BUSY_SHARE, WELL_SHARE = 0.85, 0.7
"""Share of used slots from which a lane is short of them, and the share that a suggestion aims at."""
SHORT_FOR_MIN = 5
"""Minutes for which a lane must be short of slots before anything is suggested."""
LATELY_MIN, LOOKED_AT_MIN = 5, 60
SLOW_DRAIN_S = 600
"""A backlog that takes longer to work off needs another worker."""

WORKERS = text(
    "SELECT *, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silent_s FROM stoker.workers"
    " WHERE seen_at > clock_timestamp() - make_interval(hours => :hours)"
    " ORDER BY stopped_at DESC NULLS FIRST, started_at DESC LIMIT 200"
)
MINUTES = text(
    "SELECT series, floor(extract(epoch FROM clock_timestamp() - at) / 60)::int AS ago, value"
    " FROM stoker.figure_history WHERE span_s = 60 AND series IN :series"
    " AND at >= date_trunc('minute', clock_timestamp()) - make_interval(mins => :back)"
).bindparams(bindparam("series", expanding=True))


class WorkerState(StrEnum):
    """What a worker process does."""

    RUNNING = "running"
    QUIET = "quiet"
    """It takes no new jobs, because an operator asked for it."""
    SILENT = "silent"
    """It has not reported for a while: killed, frozen, or cut off from Postgres."""
    STOPPED = "stopped"


class WorkerLane(BaseModel):
    """A lane of one worker: slots, busy ones, and the share of slot-seconds that was used lately."""

    slots: int
    busy: int
    used: float


class WorkerFigures(BaseModel):
    """One worker process. `silent_s`: seconds since its last report."""

    name: str
    host: str
    release: str
    state: WorkerState
    started_at: datetime
    stopped_at: datetime | None
    silent_s: float
    memory_bytes: int
    slots: int
    busy: int
    lanes: dict[str, WorkerLane]


class Workers(BaseModel):
    """Worker processes of the last hours, those that run first."""

    workers: list[WorkerFigures]


class Quiet(BaseModel):
    """A worker, and whether it takes new jobs."""

    name: str
    quiet: bool


class LaneCapacity(BaseModel):
    """One lane over all workers. `used`: share of slot-seconds of the last minutes; None without any.

    `busy_min`: for how many minutes up to now at least 85 % were used. `drain_s`: how long the ready jobs
    take at the rate of the last minutes, if nothing is added; None while no job ends.
    """

    slots: int
    workers: int
    used: float | None
    busy_min: int
    ready: int
    done_per_s: float
    drain_s: float | None
    paused: bool
    suggestion: str | None = None


class Capacity(BaseModel):
    """Whether there are enough slots. `workers_wanted`: how many workers would use 70 % of their slots."""

    lanes: dict[str, LaneCapacity]
    workers: int
    workers_wanted: int


async def listing(stoker: Stoker, hours: int = 1) -> Workers:
    """Workers that reported in the last hours."""
    rows = await fetched(stoker.engine, WORKERS, {"hours": hours})
    return Workers(workers=[_figures(row) for row in rows])


async def set_quiet(stoker: Stoker, actor: Actor, worker: str, *, quiet: bool) -> Quiet:
    """Let a worker take no new jobs, or again; it hears of it within seconds. Raises NotFound."""
    action = "worker.quiet" if quiet else "worker.resume"
    async with acting(stoker, actor, action, {"worker": worker}) as session:
        found = await session.execute(
            update(table)
            .where(table.c.name == worker, table.c.stopped_at.is_(None))
            .values(quiet=quiet)
            .returning(table.c.name)
        )
        if found.first() is None:
            raise NotFound(f"no worker {worker!r:.140} runs: `stoker workers list` shows those that do")
    return Quiet(name=worker, quiet=quiet)


async def capacity(stoker: Stoker) -> Capacity:
    """How much of the workers' slots is used, how long the backlog takes, and what to do about it."""
    living = [
        one
        for one in (await listing(stoker)).workers
        if one.state in (WorkerState.RUNNING, WorkerState.QUIET)
    ]
    depths = await depth(stoker.queue)
    minutes = await _minutes(stoker, list(depths))
    lanes = {}
    for lane, found in depths.items():
        mine = [one for one in living if lane in one.lanes]
        done = [minutes.get((name("lane", lane, "done"), 1 + ago), 0.0) for ago in range(LATELY_MIN)]
        done_per_s = sum(done) / 60 / LATELY_MIN
        shares = _shares(minutes, lane)
        shown = LaneCapacity(
            slots=sum(one.lanes[lane].slots for one in mine),
            workers=len(mine),
            used=_mean([one for one in shares[: LATELY_MIN + 1] if one is not None]),
            busy_min=_busy_min(shares),
            ready=found.ready,
            done_per_s=round(done_per_s, 3),
            drain_s=round(found.ready / done_per_s, 1) if done_per_s else (None if found.ready else 0.0),
            paused=found.paused,
        )
        lanes[str(lane)] = shown.model_copy(update={"suggestion": suggestion(str(lane), shown)})
    return Capacity(lanes=lanes, workers=len(living), workers_wanted=wanted(len(living), lanes))


def suggestion(lane: str, found: LaneCapacity) -> str | None:
    """What would help a lane; None where nothing is needed."""
    waits = "1 job waits" if found.ready == 1 else f"{found.ready:,} jobs wait"
    if found.paused:
        return f"{waits} while {lane} is paused: stoker lanes resume {lane}" if found.ready else None
    if not found.workers:
        return f"start a worker that runs {lane}: {waits}" if found.ready else None
    if found.used is None or found.busy_min < SHORT_FOR_MIN:
        return None
    slots = math.ceil(found.slots * found.used / WELL_SHARE / found.workers)
    slots = max(slots, found.slots // found.workers + 1)
    return f"raise {lane} to {slots}, or add a worker: {found.used:.0%} busy for {found.busy_min} min"


def wanted(workers: int, lanes: Mapping[str, LaneCapacity]) -> int:
    """How many workers there should be, at least one: for an autoscaler."""
    most = 1
    for lane in lanes.values():
        if lane.paused or not lane.workers:
            continue
        most = max(most, math.ceil(round(lane.workers * (lane.used or 0) / WELL_SHARE, 6)))
        if lane.ready and (lane.drain_s is None or lane.drain_s > SLOW_DRAIN_S):
            most = max(most, workers + 1)
    return most


def _figures(row: RowMapping) -> WorkerFigures:
    found = dict(row)
    lanes = {lane: WorkerLane.model_validate(one) for lane, one in found.pop("lanes").items()}
    quiet = found.pop("quiet")
    state = WorkerState.QUIET if quiet else WorkerState.RUNNING
    if found["stopped_at"] is not None:
        state = WorkerState.STOPPED
    elif float(str(found["silent_s"])) > SILENT_S:
        state = WorkerState.SILENT
    return WorkerFigures.model_validate(
        {
            **found,
            "host": str(found["name"]).rpartition(":")[0],
            "state": state,
            "lanes": lanes,
            "slots": sum(one.slots for one in lanes.values()),
            "busy": sum(one.busy for one in lanes.values()),
        }
    )


async def _minutes(stoker: Stoker, lanes: Sequence[str]) -> dict[tuple[str, int], float]:
    """Series and minutes ago -> value."""
    series = [name("lane", lane, what) for lane in lanes for what in (BUSY, SLOTS, "done")]
    rows = await fetched(stoker.engine, MINUTES, {"series": series, "back": LOOKED_AT_MIN})
    return {(row["series"], row["ago"]): row["value"] for row in rows}


def _shares(minutes: Mapping[tuple[str, int], float], lane: str) -> list[float | None]:
    """The share of slot-seconds that was used in each minute, the current one first."""
    busy, slots = name("lane", lane, BUSY), name("lane", lane, SLOTS)
    return [
        min(1.0, minutes.get((busy, ago), 0.0) / minutes[slots, ago]) if minutes.get((slots, ago)) else None
        for ago in range(LOOKED_AT_MIN)
    ]


def _busy_min(shares: Sequence[float | None]) -> int:
    # The current minute may have no report yet.
    past = shares[1:] if shares[0] is None else shares
    return next((at for at, one in enumerate(past) if one is None or one < BUSY_SHARE), len(past))


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
