"""The rows in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.figures import Figure
from bench.ground import Bench
from bench.rows import (
    accounting,
    burst,
    bytes_,
    capture_applied,
    capture_cost,
    change_applied,
    change_applied_term,
    cluster_read,
    commands_per_read,
    console,
    cover_time,
    cron_late,
    drain,
    earlier_layer,
    enqueue_in,
    failover,
    fair,
    herd,
    hit_body,
    hit_decoded,
    hit_near,
    hit_term,
    http_hit,
    idle,
    invalidate_flat,
    invalidate_scan,
    job_start,
    memory,
    own_drain,
    own_start,
    predict_cost,
    record_at_100m,
    record_cost,
    relay_2,
    ring,
    sync_read,
    warm,
    warm_predicted,
    week_hit_rate,
)

Measure = Callable[[Bench], Awaitable[list[Figure]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, the ids of the rows that it gives, and what it is in a sentence."""

    ids: tuple[str, ...]
    measure: Measure
    about: str


MODULES = (
    *(hit_body, change_applied, change_applied_term, burst, relay_2),
    *(hit_decoded, hit_near, hit_term, commands_per_read, http_hit, sync_read, accounting),
    *(invalidate_flat, invalidate_scan, herd, warm, bytes_, earlier_layer),
    *(
        job_start,
        own_start,
        record_cost,
        enqueue_in,
        capture_cost,
        capture_applied,
        ring,
        drain,
        own_drain,
        fair,
        cron_late,
        memory,
        idle,
    ),
    *(console, cover_time, record_at_100m, cluster_read, failover),
    *(predict_cost, warm_predicted, week_hit_rate),
)
ROWS = tuple(Row(module.IDS, module.measure, (module.__doc__ or "").splitlines()[0]) for module in MODULES)
