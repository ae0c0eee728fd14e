"""The overview: whether the cache is right and warm and the worker keeps up, from all figures.

The parts are independent and are read side by side, each within the time limit. A part that cannot be read is
None, and `missing` says why: a figure that is not known is never shown as zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import text

from stoker.cache.reading import Miss
from stoker.errors import Unavailable
from stoker.history.charts import LATELY, Row, Sums, hit_rate, of_view, read_time, sums, wait
from stoker.history.memory import cache_memory, queue_memory
from stoker.history.presence import SILENT_S, served_lanes, silences
from stoker.history.series import ERRORS, MISS, READ
from stoker.operations import batches
from stoker.operations.batches import BatchShown
from stoker.operations.figures import ViewReads, verified_figures, view_counters
from stoker.operations.findings import unacknowledged
from stoker.operations.health import Health, health_of, name_of
from stoker.operations.judgement import judged
from stoker.operations.picture import Answered, LaneNow, MemoryNow, Overview, ViewNow, WorkerSeen
from stoker.operations.prediction import prediction
from stoker.outbox.rows import backlog
from stoker.outbox.undelivered import undelivered
from stoker.postgres import fetched
from stoker.redis.memory import Memory
from stoker.stoker import Stoker
from stoker.worker.engine.depth import LaneDepth, depth

T = TypeVar("T")
BATCHES = 10
SQL_AT_ONCE = 3
"""Connections that one overview takes at once: the others are left to writes."""

DEAD_LATELY = timedelta(days=1)
"""A dead letter of this age needs attention; older ones were seen, and stay in the list."""
DEAD = text(
    "SELECT lane, count(*) AS letters,"
    " count(*) FILTER (WHERE died_at > clock_timestamp() - CAST(:lately AS interval)) AS lately"
    " FROM stoker.dead_jobs GROUP BY lane"
)
LAST = text(
    "SELECT (SELECT max(id) FROM stoker.job_history) AS jobs, (SELECT max(id) FROM stoker.dead_jobs) AS dead,"
    " (SELECT max(id) FROM stoker.audit_log) AS audit,"
    " (SELECT extract(epoch FROM max(settled_at)) FROM stoker.cache_events"
    " WHERE settled_at IS NOT NULL) AS applied,"
    " (SELECT max(id) FROM stoker.cache_events) AS recorded"
)


async def overview(stoker: Stoker, timeout_s: float) -> Overview:
    """Gather all parts and judge them; each question takes at most the time limit."""
    health = await health_of(stoker, timeout_s)
    parts = _Parts(health, timeout_s)
    engine = stoker.engine
    async with asyncio.TaskGroup() as group:
        grown = group.create_task(parts.read("rates", ("database",), lambda: sums(engine)))
        depths = group.create_task(parts.read("lanes", ("queue",), lambda: depth(stoker.queue)))
        dead = group.create_task(parts.read("dead", ("database",), lambda: _dead(stoker)))
        counters = group.create_task(parts.read("views", ("cache",), lambda: view_counters(stoker)))
        changes = group.create_task(parts.read("changes", ("database",), lambda: backlog(engine)))
        requests = group.create_task(parts.read("requests", ("database",), lambda: undelivered(engine)))
        open_batches = group.create_task(parts.read("batches", ("queue",), lambda: _batches(stoker)))
        verified = group.create_task(parts.read("verified", ("cache",), lambda: verified_figures(stoker)))
        of_cache = group.create_task(parts.read("memory", ("cache",), lambda: cache_memory(stoker)))
        of_queue = group.create_task(parts.read("queue_memory", ("queue",), lambda: queue_memory(stoker)))
        open_findings = group.create_task(
            parts.read("findings", ("database",), lambda: unacknowledged(stoker))
        )
        workers = group.create_task(parts.read("workers", ("database",), lambda: _workers(stoker)))
        served = group.create_task(parts.read("served", ("database",), lambda: served_lanes(engine)))
        predicted = group.create_task(parts.read("prediction", ("database",), lambda: prediction(stoker)))
        last = group.create_task(parts.read("last", ("database",), lambda: _last(stoker)))
    views = _views(stoker, counters.result(), grown.result())
    if views is None:
        parts.missing.setdefault("views", parts.missing.get("rates", ""))
    rate = None if views is None or grown.result() is None else _hit_rate(stoker, grown.result())
    return judged(
        Overview(
            at=datetime.now(UTC),
            health=health,
            missing=parts.missing,
            changes=changes.result(),
            requests=requests.result(),
            batches=open_batches.result(),
            verified=verified.result(),
            findings=open_findings.result(),
            hit_rate=rate,
            views=views,
            memory=_memories({"cache": of_cache.result(), "queue": of_queue.result()}, grown.result()),
            answered=_answered(stoker, grown.result()),
            lanes=_lanes(depths.result(), dead.result(), grown.result()),
            dead_lately=_total(dead.result(), "lately"),
            workers=workers.result(),
            served=served.result(),
            prediction=predicted.result(),
            last=last.result() or {},
        )
    )


class _Parts:
    """Reads the parts of one overview, and remembers why one could not be read."""

    def __init__(self, health: Health, timeout_s: float) -> None:
        self.missing: dict[str, str] = {}
        self._health = health
        self._timeout_s = timeout_s
        self._sql = asyncio.Semaphore(SQL_AT_ONCE)

    async def read(self, part: str, needs: tuple[str, ...], ask: Callable[[], Awaitable[T]]) -> T | None:
        """A part, if the servers that it needs answer in time."""
        for server in needs:
            if not self._health.servers[server].ok:
                self.missing[part] = f"{_begun(name_of(server))} {self._health.servers[server].says}"
                return None
        async with AsyncExitStack() as stack:
            if "database" in needs:
                await stack.enter_async_context(self._sql)
            return await self._in_time(part, needs, ask())

    async def _in_time(self, part: str, needs: tuple[str, ...], asked: Awaitable[T]) -> T | None:
        asking = asyncio.ensure_future(asked)
        await asyncio.wait({asking}, timeout=self._timeout_s)
        if not asking.done():
            asking.cancel()  # not awaited: a driver that hangs may take long to give up
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())
            names = _begun(" and ".join(name_of(server) for server in needs))
            self.missing[part] = f"{names} did not answer within {self._timeout_s:g} s"
            return None
        try:
            return asking.result()
        except Unavailable as error:
            self.missing[part] = str(error)
            return None


def _begun(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _views(
    stoker: Stoker, counters: Mapping[str, Mapping[str, int]] | None, grown: Sums | None
) -> dict[str, ViewNow] | None:
    if counters is None or grown is None:
        return None
    limits = stoker.settings.watch.hit_rate_of
    return {
        name: ViewNow(
            **ViewReads.of(of_view(grown.hour, name)).model_dump(),
            reads_ever=ViewReads.of(ever).reads,
            cold_below=limits.get(name),
        )
        for name, ever in counters.items()
    }


def _answered(stoker: Stoker, grown: Sums | None) -> dict[str, Answered] | None:
    if grown is None:
        return None
    return {name: _answered_of(stoker, grown.lately, name) for name in sorted(stoker.domain.views_by_name)}


def _answered_of(stoker: Stoker, lately: Row, view: str) -> Answered:
    counters = of_view(lately, view)
    return Answered(
        reads=round(sum(n for name, n in counters.items() if name.startswith(READ))),
        errors=round(counters.get(ERRORS, 0)),
        stale=round(counters.get("stale", 0)),
        bypass=round(counters.get(f"{MISS}{Miss.BYPASS}", 0)),
        load_errors=round(counters.get("load_errors", 0)),
        p50_s=_rounded(read_time(lately, view, 0.5)),
        p99_s=_rounded(read_time(lately, view, 0.99)),
        slow_from_s=stoker.settings.watch.slow_from_s(view),
    )


def _hit_rate(stoker: Stoker, grown: Sums | None) -> float | None:
    hour: Row = grown.hour if grown is not None else {}
    return _rounded(hit_rate(hour, sorted(stoker.domain.views_by_name)))


async def _batches(stoker: Stoker) -> list[BatchShown]:
    found = (await batches.listing(stoker, BATCHES)).batches
    return [batch for batch in found if batch.ended_at is None]


def _memories(found: Mapping[str, Memory | None], grown: Sums | None) -> dict[str, MemoryNow]:
    return {
        name: MemoryNow(
            used_bytes=memory.used_bytes,
            limit_bytes=memory.limit_bytes,
            policy=memory.policy,
            full=memory.is_full,
            evicts=memory.evicts,
            evicted=memory.evicted,
            expired=memory.expired,
            evicted_per_s=None
            if grown is None
            else round(grown.lately.get(f"server:{name}:evicted", 0) / LATELY.total_seconds(), 2),
        )
        for name, memory in found.items()
        if memory is not None
    }


async def _dead(stoker: Stoker) -> dict[str, dict[str, int]]:
    rows = await fetched(stoker.engine, DEAD, {"lately": DEAD_LATELY})
    return {row["lane"]: {"letters": row["letters"], "lately": row["lately"]} for row in rows}


def _total(dead: Mapping[str, Mapping[str, int]] | None, what: str) -> int | None:
    return None if dead is None else sum(found[what] for found in dead.values())


def _lanes(
    depths: Mapping[str, LaneDepth] | None,
    dead: Mapping[str, Mapping[str, int]] | None,
    grown: Sums | None,
) -> dict[str, LaneNow] | None:
    if depths is None:
        return None
    return {name: _lane(name, found, dead, grown) for name, found in depths.items()}


def _lane(
    name: str, found: LaneDepth, dead: Mapping[str, Mapping[str, int]] | None, grown: Sums | None
) -> LaneNow:
    lately: Row | None = grown.lately if grown is not None else None
    return LaneNow(
        **found.model_dump(),
        dead=None if dead is None else dead.get(name, {}).get("letters", 0),
        done_per_minute=_per_minute(lately, f"lane:{name}:done"),
        failed_per_minute=_per_minute(lately, f"lane:{name}:failed"),
        wait_p50_s=_rounded(wait(lately or {}, name, 0.5)),
        wait_p99_s=_rounded(wait(lately or {}, name, 0.99)),
    )


def _per_minute(lately: Row | None, series: str) -> float | None:
    if lately is None:
        return None
    return round(lately.get(series, 0) / (LATELY.total_seconds() / 60), 2)


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
