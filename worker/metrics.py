"""Every metric, with its unit and meaning, as Prometheus scrapes it.

Figures come from the shared servers at the time of the scrape, so every process that serves them shows the
same. A server that is away leaves out what it would have said; `stoker_server_up` tells which one it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.contracts import Lane
from jobs.errors import Unavailable
from jobs.stoker import Stoker
from worker import figures
from worker.figures import ChangeFigures, LaneFigures, VerifiedFigures, ViewFigures
from worker.health import Health, examine, probes

WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
"""Seconds: from a woken worker to a lane that is far behind."""
RUN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
"""Seconds: from a relay without events to a warming of everybody."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def exposition(stoker: Stoker, timeout_s: float) -> bytes:
    """Everything there is to say now, in Prometheus' text format."""
    health = await examine(probes(stoker), timeout_s)
    metrics = list(_servers(health))
    up = {name for name, server in health.servers.items() if server.ok}
    try:
        if "database" in up:
            metrics += _changes(await figures.change_figures(stoker))
        if "cache" in up:
            counters = await figures.view_counters(stoker)
            metrics += _views({name: ViewFigures.of(found) for name, found in counters.items()})
            metrics += _verified(await figures.verified_figures(stoker))
        if {"queue", "database"} <= up:
            metrics += _lanes(await figures.lane_figures(stoker))
    except Unavailable:
        pass  # went away between the probe and the question; the next scrape tells
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(metrics))
    return generate_latest(registry)


class JobMetrics:
    """What one worker process saw of its own jobs: an observer of the engine."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._waits = Histogram(
            "stoker_job_wait_seconds",
            "From when a job was due to when it began.",
            ["lane"],
            buckets=WAIT_BUCKETS,
            registry=self.registry,
        )
        self._runs = Histogram(
            "stoker_job_run_seconds",
            "How long a run took, by how it ended.",
            ["lane", "kind", "outcome"],
            buckets=RUN_BUCKETS,
            registry=self.registry,
        )

    def job_started(self, lane: Lane, kind: str, waited_s: float) -> None:
        """A job begins."""
        del kind
        self._waits.labels(lane).observe(waited_s)

    def job_ended(self, lane: Lane, kind: str, outcome: str, ran_s: float) -> None:
        """A job ended."""
        self._runs.labels(lane, kind, outcome).observe(ran_s)


class _Gathered(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _servers(health: Health) -> Iterator[Metric]:
    up = GaugeMetricFamily("stoker_server_up", "1 if the server answers.", labels=["server"])
    latency = GaugeMetricFamily(
        "stoker_server_probe_seconds", "How long the server took to answer.", labels=["server"]
    )
    for name, server in health.servers.items():
        up.add_metric([name], float(server.ok))
        latency.add_metric([name], server.ms / 1000)
    yield from (up, latency)


def _changes(found: ChangeFigures) -> list[Metric]:
    return [
        GaugeMetricFamily(
            "stoker_events_unsettled", "Recorded events that are not applied.", value=found.unsettled
        ),
        GaugeMetricFamily(
            "stoker_events_failing", "Unsettled events that failed at least once.", value=found.failing
        ),
        GaugeMetricFamily(
            "stoker_events_oldest_unsettled_age_seconds",
            "Age of the oldest unsettled event; 0 without one.",
            value=found.oldest_age_s,
        ),
    ]


def _views(views: Mapping[str, ViewFigures]) -> list[Metric]:
    reads = CounterMetricFamily(
        "stoker_cache_reads", "Reads by result: a hit needs no SQL.", labels=["view", "result"]
    )
    misses = CounterMetricFamily(
        "stoker_cache_misses", "Reads that needed SQL, by cause.", labels=["view", "cause"]
    )
    stale = CounterMetricFamily(
        "stoker_cache_stale", "Answers marked stale: the loader failed.", labels=["view"]
    )
    builds = CounterMetricFamily(
        "stoker_cache_builds", "Entries built from SQL, by result.", labels=["view", "result"]
    )
    seconds = CounterMetricFamily(
        "stoker_cache_build_seconds", "Time that building entries took.", labels=["view"]
    )
    body = CounterMetricFamily("stoker_cache_body_bytes", "Bytes of bodies built.", labels=["view"])
    stored = CounterMetricFamily(
        "stoker_cache_stored_bytes", "The same bytes as stored, after compression.", labels=["view"]
    )
    for name, view in views.items():
        reads.add_metric([name, "hit"], view.hits)
        reads.add_metric([name, "miss"], view.reads - view.hits)
        for cause, count in view.misses.items():
            misses.add_metric([name, cause], count)
        stale.add_metric([name], view.stale)
        for result in ("loads", "load_errors", "stored", "superseded"):
            builds.add_metric([name, result], getattr(view, result))
        seconds.add_metric([name], (view.build_ms or 0) * view.loads / 1000)
        body.add_metric([name], view.body_bytes)
        stored.add_metric([name], view.stored_bytes)
    return [reads, misses, stale, builds, seconds, body, stored]


def _verified(found: VerifiedFigures) -> list[Metric]:
    entries = GaugeMetricFamily(
        "stoker_verified_entries", "Entries compared with SQL in the last 7 days.", labels=["verdict"]
    )
    entries.add_metric(["right"], found.checked - found.stale - found.changed)
    for verdict in ("stale", "changed", "undecided"):
        entries.add_metric([verdict], getattr(found, verdict))
    age = GaugeMetricFamily(
        "stoker_verified_stale_age_seconds",
        "Greatest age of an entry found stale in the last 7 days; 0 without one.",
        value=found.stale_age_s,
    )
    return [entries, age]


def _lanes(lanes: Mapping[str, LaneFigures]) -> list[Metric]:
    jobs = GaugeMetricFamily("stoker_lane_jobs", "Jobs in a lane, by state.", labels=["lane", "state"])
    oldest = GaugeMetricFamily(
        "stoker_lane_oldest_ready_age_seconds",
        "How long the oldest job that could begin has been waiting.",
        labels=["lane"],
    )
    ended = CounterMetricFamily("stoker_lane_runs", "Runs of jobs, by outcome.", labels=["lane", "outcome"])
    for name, lane in lanes.items():
        for state in ("ready", "deferred", "running", "parked", "dead"):
            jobs.add_metric([name, state], getattr(lane, state))
        oldest.add_metric([name], lane.oldest_ready_age_s)
        for outcome, count in lane.totals.items():
            ended.add_metric([name, outcome], count)
    return [jobs, oldest, ended]
