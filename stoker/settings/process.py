"""The worker process itself: its lanes, its loops, its log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from stoker.errors import SettingsError
from stoker.jobs import Lane
from stoker.settings.tables import Table
from stoker.settings.typo import meant


class ProcessSettings(Table):
    """Table [worker]: the worker process."""

    stop_deadline_s: PositiveFloat = 25
    """Seconds that running jobs have to finish after SIGTERM. Below the grace period of what stops the
    worker."""
    sweep_s: PositiveFloat = 1
    """Seconds between sweeps of unsettled events: the latency of a change while the queue Redis is away."""
    history_every_s: PositiveFloat = 30
    """Seconds between samples of the figures that the console's charts show."""
    release: str = Field(default="", max_length=64)
    """Your application's release, such as a commit: `stoker workers` shows it for each worker. Without one,
    that of Stoker."""
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
    fair_cap: NonNegativeInt = 0
    """Jobs of one fair key that run at once in all workers together; 0: no limit. Set it where one tenant
    must not take every slot."""


class LanesSettings(Table):
    """Table [lanes]: Stoker's own lanes, and beside them those of the application, by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, LaneSettings]
    changes: LaneSettings = LaneSettings(concurrency=4)
    refresh: LaneSettings = LaneSettings(concurrency=6)
    warm: LaneSettings = LaneSettings(concurrency=2)

    def of(self, lanes: Iterable[Lane]) -> dict[str, LaneSettings]:
        """The settings of each lane: what is set, else what is declared; raises SettingsError for others."""
        declared = {str(lane): lane for lane in lanes}
        for name in self.__pydantic_extra__.keys() - declared:
            raise SettingsError(f"lanes.{name}: the domain declares no such lane{meant(name, declared)}")
        return {name: self._of(lane) for name, lane in declared.items()}

    def concurrency(self, lanes: Iterable[Lane]) -> dict[str, int]:
        """Jobs at once, by lane."""
        return {name: settings.concurrency for name, settings in self.of(lanes).items()}

    def _of(self, lane: Lane) -> LaneSettings:
        given = getattr(self, lane, None) or LaneSettings()
        if lane in type(self).model_fields:
            return given
        wanted = {name: getattr(given, name) for name in given.model_fields_set}
        declared = LaneSettings(
            concurrency=lane.concurrency, rate_per_s=lane.rate_per_s, fair_cap=lane.fair_cap
        )
        return declared.model_copy(update=wanted)


class LogSettings(Table):
    """Table [log]."""

    format: Literal["human", "json"] = "human"
    """`human` for a terminal, `json` (one object a line) for a log collector."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written."""
