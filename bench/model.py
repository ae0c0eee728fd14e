"""From what one of each costs to what a fleet needs, and which limit it meets first. Touches no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

Costs = Mapping[str, float]
HIT, NEAR, MISS, JOB = "a hit, nothing kept near", "a hit, kept near", "a miss", "a job"
ALONE, OF_MANY = "a change alone", "a change of many"
MANY_PER_S = 100
"""Changes a second from which on a relay finds several."""
WEB, WORKER = "a web process, a second", "a worker, a second"
"""Whatever it reads, or runs: loops, and the counters that it sends."""
FULL = 0.7
"""Share of a core above which waits grow fast."""
MOST_CONNECTIONS = 500
"""Of Postgres, without a pooler: each is a process of some megabytes."""
POSTGRES_CORES = 16
COMPUTING = ("web", "cache", "queue", "Postgres", "worker")
SQL_CONNECTIONS = 2
"""Of an idle web process: one of each pool."""


@dataclass(frozen=True)
class Fleet:
    """So many web processes that read so often; the shares are what the table in docs/scaling.md assumes."""

    processes: int
    reads_per_s: float
    hit_rate: float = 0.99
    near: float = 0.5
    """Share of hits whose entry the process has kept."""
    changes: float = 0.01
    """For each read."""
    jobs: float = 0.001
    """For each read."""
    workers: int = 2


SIZES = tuple(Fleet(*one) for one in product((10, 100, 1000), (1e3, 1e4, 1e5, 1e6)))


def rates(fleet: Fleet) -> dict[str, float]:
    """How much of each happens in a second."""
    hits, changes = fleet.reads_per_s * fleet.hit_rate, fleet.reads_per_s * fleet.changes
    return {
        HIT: hits * (1 - fleet.near),
        NEAR: hits * fleet.near,
        MISS: fleet.reads_per_s * (1 - fleet.hit_rate),
        (OF_MANY if changes > MANY_PER_S else ALONE): changes,
        JOB: fleet.reads_per_s * fleet.jobs,
        WEB: fleet.processes,
        WORKER: fleet.workers,
    }


def load(fleet: Fleet, costs: Mapping[str, Costs], meter: str) -> float:
    """What a meter of bench.meters shows in a second."""
    return sum(times * costs[what][meter] for what, times in rates(fleet).items() if what in costs)


def needs(fleet: Fleet, costs: Mapping[str, Costs]) -> dict[str, float]:
    """Busy cores by server and process, network of the cache, and connections."""
    cores = {f"{name} cores": load(fleet, costs, f"{name} CPU us") / 1e6 for name in COMPUTING}
    sent = load(fleet, costs, "cache bytes out") * 8 / 1e6
    return {**cores, "cache Mbit/s": sent, "Postgres connections": float(fleet.processes * SQL_CONNECTIONS)}


def limit_of(fleet: Fleet, found: Mapping[str, float]) -> str:
    """The first limit, by how far it is passed; empty where none is."""
    limits = {
        "web processes": found["web cores"] / (fleet.processes * FULL),
        "one cache Redis": found["cache cores"] / FULL,
        "one queue Redis": found["queue cores"] / FULL,
        f"a Postgres of {POSTGRES_CORES} cores": found["Postgres cores"] / (POSTGRES_CORES * FULL),
        "two workers": found["worker cores"] / (fleet.workers * FULL),
        f"{MOST_CONNECTIONS} connections of Postgres": found["Postgres connections"] / MOST_CONNECTIONS,
    }
    name, times = max(limits.items(), key=lambda one: one[1])
    return f"{name} ({times:.1f} x)" if times > 1 else "-"
