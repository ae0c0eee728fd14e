"""The metrics of an installation, as Prometheus scrapes them; `declared` says what there is.

Shared figures come from the servers at the time of the scrape, so every process that serves them shows the
same. Figures of a server that is away are left out; `stoker_server_up` says which one it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    Metric,
)
from prometheus_client.registry import Collector

from stoker.cache.accounting import CHANGES, READ, observed
from stoker.errors import Unavailable
from stoker.histogram import Observed
from stoker.history.memory import cache_memory, queue_memory
from stoker.history.presence import SILENT_S, silences
from stoker.history.sampler import STATES
from stoker.history.times import job_times
from stoker.operations import figures, schedule
from stoker.operations.figures import VerifiedFigures, ViewFigures
from stoker.operations.health import Health, health_of
from stoker.operations.prediction import prediction
from stoker.operations.workers import capacity
from stoker.outbox.rows import backlog
from stoker.outbox.undelivered import undelivered
from stoker.postgres import promptly
from stoker.prediction.contest import COUNTS, DEFAULT, PREDICTOR
from stoker.redis.memory import Memory
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.telemetry.declared import BY_NAME
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.depth import depth
from stoker.worker.schedule.tasks import tasks, utc_now

GATHER_S = 3.0
"""Seconds for one part of a scrape."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def exposition(stoker: Stoker, settings: Settings, tokens_refused: int = 0) -> bytes:
    """All metrics now, in Prometheus' text format; `tokens_refused`: by this process so far."""
    health = await health_of(stoker, settings.api.probe_timeout_s)
    up = {name for name, server in health.servers.items() if server.ok}
    all_of_them = _servers(health)
    for needs, gather in _GATHER:
        if needs <= up:
            try:
                # A server that falls silent between the probe and the question must not hold up the scrape.
                all_of_them.merge(await promptly(gather(stoker, settings), GATHER_S))
            except Unavailable:
                continue  # the next scrape shows it
    all_of_them.add("stoker_api_tokens_refused", tokens_refused)
    gathered = _Gathered(all_of_them)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(gathered)
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def own_process() -> CollectorRegistry:
    """The metrics of a worker's own endpoint: those of this process only."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class _Gathered(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self.metrics


class _Families:
    """Families by their short names, made when their first sample comes."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add a sample of a gauge or counter."""
        self._family(name).add_metric(labels, value)  # type: ignore[attr-defined]

    def observe(self, name: str, found: Observed, *labels: str) -> None:
        """Add a histogram; Prometheus' buckets hold what lies below them too."""
        buckets, sum_up_to = [], 0
        for bound, count in found.buckets.items():
            sum_up_to += count
            buckets.append(("+Inf" if bound == inf else f"{bound:g}", sum_up_to))
        self._family(name).add_metric(labels, buckets, found.sum_s)  # type: ignore[attr-defined]

    def merge(self, others: _Families) -> None:
        """Take the samples of others."""
        for name, family in others._families.items():
            self._family(name).samples += family.samples

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())

    def _family(self, name: str) -> Metric:
        if name not in self._families:
            self._families[name] = BY_NAME[name].family()
        return self._families[name]


def _servers(health: Health) -> _Families:
    found = _Families()
    for name, server in health.servers.items():
        found.add("stoker_server_up", float(server.ok), name, server.address)
        found.add("stoker_server_probe_seconds", server.ms / 1000, name, server.address)
    return found


async def _changes(stoker: Stoker, _: Settings) -> _Families:
    changes = await backlog(stoker.engine)
    found = _Families()
    found.add("stoker_events_unsettled", changes.unsettled)
    found.add("stoker_events_failing", changes.failing)
    found.add("stoker_events_oldest_unsettled_age_seconds", changes.oldest_age_s)
    found.add("stoker_cache_term_seconds", changes.term_ms / 1000)
    waiting = await undelivered(stoker.engine)
    found.add("stoker_requests_undelivered", waiting.count)
    found.add("stoker_requests_oldest_undelivered_age_seconds", waiting.oldest_age_s)
    return found


async def _cache(stoker: Stoker, settings: Settings) -> _Families:
    counters = await figures.view_counters(stoker, CHANGES)
    found = _Families()
    found.observe("stoker_change_applied_seconds", observed(counters[CHANGES], "applied"))
    for name in sorted(stoker.domain.views_by_name):
        _view(found, name, ViewFigures.counted(counters[name]))
        found.observe("stoker_cache_build_seconds", observed(counters[name], "load"), name)
        found.add("stoker_read_slow_from_seconds", settings.watch.slow_from_s(name), name)
        for state in STATES:
            found.observe("stoker_read_seconds", observed(counters[name], f"{READ}{state}"), name, state)
    _verified(found, await figures.verified_figures(stoker))
    return found


def _view(found: _Families, name: str, view: ViewFigures) -> None:
    found.add("stoker_cache_reads", view.hits, name, "hit")
    found.add("stoker_cache_reads", view.reads - view.hits, name, "miss")
    for cause, count in view.misses.items():
        found.add("stoker_cache_misses", count, name, cause)
    found.add("stoker_cache_stale", view.stale, name)
    for result in ("loads", "load_errors", "stored", "superseded"):
        found.add("stoker_cache_builds", getattr(view, result), name, result)
    found.add("stoker_cache_body_bytes", view.body_bytes, name)
    found.add("stoker_cache_stored_bytes", view.stored_bytes, name)


def _verified(found: _Families, verified: VerifiedFigures) -> None:
    right = verified.checked - verified.stale - verified.changed
    found.add("stoker_verified_entries", right, "right")
    for verdict in ("stale", "changed", "undecided"):
        found.add("stoker_verified_entries", getattr(verified, verdict), verdict)
    found.add("stoker_verified_stale_age_seconds", verified.stale_age_s)


async def _memory_of_cache(stoker: Stoker, _: Settings) -> _Families:
    return _memory("cache", await cache_memory(stoker))


async def _memory_of_queue(stoker: Stoker, _: Settings) -> _Families:
    return _memory("queue", await queue_memory(stoker))


def _memory(server: str, memory: Memory) -> _Families:
    found = _Families()
    found.add("stoker_redis_memory_used_bytes", memory.used_bytes, server)
    found.add("stoker_redis_memory_limit_bytes", memory.limit_bytes or 0, server)
    found.add("stoker_redis_evicts", float(memory.evicts), server)
    found.add("stoker_redis_evicted_keys", memory.evicted, server)
    found.add("stoker_redis_expired_keys", memory.expired, server)
    return found


async def _lanes(stoker: Stoker, _: Settings) -> _Families:
    found = _Families()
    for name, lane in (await depth(stoker.queue)).items():
        for state in ("ready", "deferred", "running", "parked"):
            found.add("stoker_lane_jobs", getattr(lane, state), name, state)
        found.add("stoker_lane_paused", float(lane.paused), name)
        found.add("stoker_lane_oldest_ready_age_seconds", lane.oldest_ready_age_s, name)
        for outcome, count in lane.totals.items():
            found.add("stoker_lane_runs", count, name, outcome)
    return found


async def _dead(stoker: Stoker, _: Settings) -> _Families:
    dead = await DeadLetters(stoker.engine).count_by_lane()
    found = _Families()
    for name in stoker.queue.lanes:
        found.add("stoker_lane_jobs", dead.get(name, 0), name, "dead")
    return found


async def _workers(stoker: Stoker, _: Settings) -> _Families:
    silent_s = await silences(stoker.engine)
    found = _Families()
    found.add("stoker_workers", sum(seconds <= SILENT_S for seconds in silent_s.values()))
    return found


async def _capacity(stoker: Stoker, _: Settings) -> _Families:
    shown = await capacity(stoker)
    found = _Families()
    found.add("stoker_workers_wanted", shown.workers_wanted)
    for name, lane in shown.lanes.items():
        if lane.used is not None:
            found.add("stoker_lane_utilisation", lane.used, name)
        if lane.drain_s is not None:
            found.add("stoker_lane_drain_seconds", lane.drain_s, name)
    return found


async def _jobs(stoker: Stoker, _: Settings) -> _Families:
    times = await job_times(stoker.queue)
    found = _Families()
    for labels, waited in times.waits.items():
        found.observe("stoker_job_wait_seconds", waited, *labels)
    for labels, ran in times.runs.items():
        found.observe("stoker_job_run_seconds", ran, *labels)
    for labels, blocked in times.blocked.items():
        found.observe("stoker_job_blocked_loop_seconds", blocked, *labels)
    return found


async def _predicted(stoker: Stoker, _: Settings) -> _Families:
    now = await prediction(stoker)
    found = _Families()
    for method in (DEFAULT, COUNTS, PREDICTOR):
        found.add("stoker_prediction_in_force", float(now.in_force == method), method)
    if (figures := now.figures) is not None:
        found.add("stoker_prediction_budget_seconds", figures.budget_s)
        found.add("stoker_prediction_spent_seconds", figures.spent_s)
        found.add("stoker_prediction_wasted_seconds", figures.wasted_s)
        found.add("stoker_prediction_warmed", figures.warmed)
        found.add("stoker_prediction_avoided_misses", figures.used)
    return found


async def _schedule(stoker: Stoker, settings: Settings) -> _Families:
    planned = {task.name: task.interval(utc_now()) for task in tasks(settings.schedule, stoker.domain)}
    found = _Families()
    for name, every in planned.items():
        found.add("stoker_schedule_interval_seconds", every.total_seconds(), name)
    for name, at in (await schedule.last_slots(stoker, planned)).items():
        found.add("stoker_schedule_last_done_timestamp_seconds", at.timestamp(), name)
    return found


_GATHER = (
    (frozenset({"database"}), _changes),
    (frozenset({"database"}), _schedule),
    (frozenset({"database"}), _workers),
    (frozenset({"database"}), _predicted),
    (frozenset({"queue"}), _jobs),
    (frozenset({"cache"}), _memory_of_cache),
    (frozenset({"queue"}), _memory_of_queue),
    (frozenset({"cache"}), _cache),
    (frozenset({"queue"}), _lanes),
    (frozenset({"database"}), _dead),
    (frozenset({"database", "queue"}), _capacity),
)
"""Each with the servers that it needs. A family of two servers is gathered in two parts."""
