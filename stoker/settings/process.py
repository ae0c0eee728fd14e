"""The worker process itself: its lanes, its loops, its log."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from stoker.jobs import Lane
from stoker.settings.tables import Table


class ProcessSettings(Table):
    """Table [worker]: the worker process."""

    stop_deadline_s: PositiveFloat = 25
    """Seconds that running jobs have to finish after SIGTERM. Below the grace period of what stops the
    worker."""
    sweep_s: PositiveFloat = 1
    """Seconds between sweeps of unsettled events: the latency of a change while the queue Redis is away."""
    history_every_s: PositiveFloat = 30
    """Seconds between samples of the figures that the console's charts show."""
    metrics_host: str = "127.0.0.1"
    """Address of the worker's own endpoint, for probes and the figures of its process."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of the worker's own endpoint; 0: none. The API's /metrics covers the jobs of all workers."""


class LaneSettings(Table):
    """Tables [lanes.*]: one lane."""

    concurrency: PositiveInt = 4
    """Jobs of the lane that run at once in each worker. Raise it if jobs wait, lower it to spare Postgres."""
    rate_per_s: NonNegativeFloat = 0
    """Jobs of the lane that all workers together begin in a second; 0: no limit. Leave changes without
    one."""


class LanesSettings(Table):
    """Table [lanes]."""

    changes: LaneSettings = LaneSettings(concurrency=4)
    refresh: LaneSettings = LaneSettings(concurrency=6)
    warm: LaneSettings = LaneSettings(concurrency=2)

    def by_name(self) -> dict[Lane, LaneSettings]:
        """The settings of each lane."""
        return {Lane.CHANGES: self.changes, Lane.REFRESH: self.refresh, Lane.WARM: self.warm}

    def concurrency(self) -> dict[Lane, int]:
        """Jobs at once, by lane."""
        return {lane: settings.concurrency for lane, settings in self.by_name().items()}


class LogSettings(Table):
    """Table [log]."""

    format: Literal["human", "json"] = "human"
    """`human` for a terminal, `json` (one object a line) for a log collector."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written."""
