"""Every metric that Stoker has, with its unit and meaning: the table of docs/operations/metrics.md.

Labels are bounded: lanes, views, jobs and causes are closed sets, never ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric


class Kind(StrEnum):
    """The type of a metric in Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Declared:
    """A metric; a counter's samples end in `_total`."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()

    def family(self) -> Metric:
        """An empty family, to which samples are added."""
        families: dict[Kind, type[Metric]] = {
            Kind.GAUGE: GaugeMetricFamily,
            Kind.COUNTER: CounterMetricFamily,
            Kind.HISTOGRAM: HistogramMetricFamily,
        }
        return families[self.kind](self.name, self.meaning, labels=self.labels)  # type: ignore[call-arg]


GAUGE, COUNTER, HISTOGRAM = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM
DECLARED = (
    Declared("stoker_server_up", GAUGE, "1 if the server answers, else 0.", ("server", "address")),
    Declared(
        "stoker_server_probe_seconds",
        GAUGE,
        "How long the server took to answer, or was waited for.",
        ("server", "address"),
    ),
    Declared("stoker_redis_memory_used_bytes", GAUGE, "Memory that a Redis uses.", ("server",)),
    Declared("stoker_redis_memory_limit_bytes", GAUGE, "Its maxmemory; 0 without a limit.", ("server",)),
    Declared(
        "stoker_redis_evicts",
        GAUGE,
        "1 if it removes keys to make room, 0 if it refuses writes.",
        ("server",),
    ),
    Declared("stoker_redis_evicted_keys", COUNTER, "Keys that it removed before their time.", ("server",)),
    Declared("stoker_redis_expired_keys", COUNTER, "Keys whose time had passed.", ("server",)),
    Declared("stoker_workers", GAUGE, "Worker processes that reported in the last 15 s."),
    Declared(
        "stoker_workers_wanted",
        GAUGE,
        "Workers that would use 70 % of their slots, or one more than there are for a long backlog.",
    ),
    Declared(
        "stoker_lane_utilisation",
        GAUGE,
        "Share of the workers' slots that ran a job in the last minutes.",
        ("lane",),
    ),
    Declared(
        "stoker_lane_drain_seconds",
        GAUGE,
        "How long the ready jobs take at the rate of the last minutes.",
        ("lane",),
    ),
    Declared("stoker_events_unsettled", GAUGE, "Recorded events that are not applied."),
    Declared("stoker_events_failing", GAUGE, "Unsettled events that failed at least once."),
    Declared(
        "stoker_events_oldest_unsettled_age_seconds",
        GAUGE,
        "Age of the oldest unsettled event; 0 without one.",
    ),
    Declared(
        "stoker_cache_term_seconds",
        GAUGE,
        "For so long each change waits until no reader serves what was before it without asking Redis.",
    ),
    Declared(
        "stoker_change_applied_seconds",
        HISTOGRAM,
        "From when an event was recorded to when the cache had acknowledged it.",
    ),
    Declared(
        "stoker_requests_undelivered",
        GAUGE,
        "Jobs of `enqueue_in` whose delivery is not confirmed yet.",
    ),
    Declared(
        "stoker_requests_oldest_undelivered_age_seconds",
        GAUGE,
        "Age of the oldest of these; 0 without one.",
    ),
    Declared(
        "stoker_read_seconds",
        HISTOGRAM,
        "How long reads took in the processes that asked, by state: hit, miss, stale, bypass, error.",
        ("view", "state"),
    ),
    Declared(
        "stoker_read_slow_from_seconds",
        GAUGE,
        "From which p99 on reads of a view are called slow: `watch.slow_read_s`, `watch.slow_read_of_s`.",
        ("view",),
    ),
    Declared("stoker_cache_reads", COUNTER, "Reads by result: a hit needs no SQL.", ("view", "result")),
    Declared("stoker_cache_misses", COUNTER, "Reads that needed SQL, by cause.", ("view", "cause")),
    Declared("stoker_cache_stale", COUNTER, "Answers marked stale: the loader failed.", ("view",)),
    Declared("stoker_cache_builds", COUNTER, "Entries built from SQL, by result.", ("view", "result")),
    Declared("stoker_cache_build_seconds", HISTOGRAM, "How long building an entry took.", ("view",)),
    Declared("stoker_cache_body_bytes", COUNTER, "Bytes of bodies built.", ("view",)),
    Declared("stoker_cache_stored_bytes", COUNTER, "The same bytes as stored, after compression.", ("view",)),
    Declared("stoker_verified_entries", GAUGE, "Entries compared with SQL in the last 7 days.", ("verdict",)),
    Declared(
        "stoker_verified_stale_age_seconds",
        GAUGE,
        "Greatest age of an entry found stale in the last 7 days; 0 without one.",
    ),
    Declared("stoker_lane_jobs", GAUGE, "Jobs in a lane, by state.", ("lane", "state")),
    Declared("stoker_lane_paused", GAUGE, "1 while no worker begins a job of the lane.", ("lane",)),
    Declared(
        "stoker_lane_oldest_ready_age_seconds",
        GAUGE,
        "How long the oldest job that could begin has been waiting; 0 without one.",
        ("lane",),
    ),
    Declared("stoker_lane_runs", COUNTER, "Runs of jobs, by what became of them.", ("lane", "outcome")),
    Declared(
        "stoker_schedule_interval_seconds", GAUGE, "How often a task of the schedule is due.", ("task",)
    ),
    Declared(
        "stoker_schedule_last_done_timestamp_seconds",
        GAUGE,
        "When a task of the schedule was last enqueued, as Unix time.",
        ("task",),
    ),
    Declared(
        "stoker_job_wait_seconds",
        HISTOGRAM,
        "From when a job was due to when it began.",
        ("lane",),
    ),
    Declared(
        "stoker_job_run_seconds",
        HISTOGRAM,
        "How long a run took, by how it ended.",
        ("lane", "kind", "outcome"),
    ),
    Declared(
        "stoker_job_blocked_loop_seconds",
        HISTOGRAM,
        "How long a handler kept its worker's event loop to itself, where it was over a second.",
        ("kind",),
    ),
    Declared(
        "stoker_prediction_in_force",
        GAUGE,
        "1 for what chooses the entries that are warmed, else 0.",
        ("method",),
    ),
    Declared(
        "stoker_prediction_budget_seconds", GAUGE, "Seconds of loading a minute that prediction may spend."
    ),
    Declared("stoker_prediction_spent_seconds", COUNTER, "Seconds of loading that prediction has spent."),
    Declared(
        "stoker_prediction_wasted_seconds",
        COUNTER,
        "Of these, for entries that nobody read before they expired or changed.",
    ),
    Declared("stoker_prediction_warmed", COUNTER, "Entries that prediction has warmed."),
    Declared(
        "stoker_prediction_avoided_misses",
        COUNTER,
        "Of these, entries that were read before they expired or changed.",
    ),
    Declared("stoker_api_tokens_refused", COUNTER, "Wrong tokens that this API process was given."),
)
"""Beside these, every process shows the standard `process_*` metrics of its own."""
BY_NAME = {one.name: one for one in DECLARED}
