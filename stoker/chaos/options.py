"""The options of a run of chaos."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

TOPOLOGIES = ("single", "pgbouncer", "cluster", "sentinel")
"""A server for each role; the same with a PgBouncer in transaction mode before Postgres; with a cluster of
three primaries and three replicas as the cache; or with a primary and a replica for each of queue and cache,
which three Sentinels watch."""


@dataclass(frozen=True)
class ChaosOptions:
    """One run. The same seed plans the same faults at the same times.

    `faults` and `mischief` name the kinds to choose from (None: all of them). `rest_s` is how long everything
    may take to settle once all faults are healed. `process_command` is what workers and web apps are started
    with; tests put a process in its place that lacks a guard.
    """

    seconds: float = 120
    seed: int = 1
    json: Path | None = None
    workload: str = ""
    """`module:name` of a Workload; there is no default."""
    workers: int = 2
    """The last one starts as the release before this one."""
    webapps: int = 2
    rate: float = 120
    """Requests per second, at most."""
    writes: float = 0.1
    """Share of them that change something."""
    pace_s: float = 1.2
    """Mean of the seconds from one fault to the next."""
    faults: tuple[str, ...] | None = None
    mischief: tuple[str, ...] | None = None
    rest_s: float = 60
    room_s: float = 5
    """Added to the promised time of recovery, for a machine that is busy with other work."""
    term_ms: int = 0
    """`cache.term_ms` of all processes: hits that ask nobody, and changes that wait for them."""
    topology: str = "single"
    """How the servers are arranged: one of TOPOLOGIES."""
    data_dir: Path = Path(".data")
    """Under it a fresh folder is made for this run."""
    keep: bool = False
    """Keep the folder with the logs."""
    process_command: tuple[str, ...] = (sys.executable, "-m", "stoker.chaos.process")
