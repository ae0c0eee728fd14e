"""Settings of the schedule: what an operator may change."""

from __future__ import annotations

from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, PositiveFloat, field_validator

from stoker.settings.tables import Table


class LatePolicy(StrEnum):
    """What becomes of slots that passed while no worker ran."""

    SKIP = "skip"
    """None runs later than schedule.grace_s after its time."""
    ONCE = "once"
    """The newest one runs, late; the others are gone."""
    ALL = "all"
    """Each runs, the oldest first."""


class OverlapPolicy(StrEnum):
    """What becomes of a slot whose task's last job has not ended."""

    SKIP = "skip"
    """It does not run: one job of the task at a time."""
    ALLOW = "allow"
    """It runs beside it."""


class ScheduleSettings(Table):
    """Table [schedule]: what an operator may change of the schedule that the application declares."""

    enable_background_warming: bool = True
    """Run the entries of the schedule that warm: those with the jobs Warm and KeepWarm."""
    every_s: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Seconds between runs, by name, instead of what is declared: { warm_active = 900 }."""
    late: dict[str, LatePolicy] = Field(default_factory=dict)
    """What becomes of slots that passed while no worker ran, by name: skip, once or all."""
    overlap: dict[str, OverlapPolicy] = Field(default_factory=dict)
    """What becomes of a slot while the last one's job has not ended, by name: skip or allow."""
    warm_budget_s: float = Field(default=6, ge=0, le=600)
    """Seconds of loading a minute that predicted warming may spend; 0: none, only the declared schedule
    warms. It takes over only where it has proved better (docs/prediction.md). Raise it if Postgres has room
    and misses hurt."""
    warm_share: float = Field(default=0.25, gt=0, le=1)
    """The largest part of the time of one process' loader connections (loaders.connections) that predicted
    warming may take, whatever the budget. Lower it where warming slows readers down."""
    warm_least: float = Field(default=0.04, ge=0, le=1)
    """The lowest probability of a read at which an entry is warmed, although the budget has room. Raise it
    if too much of what is warmed is not read, lower it if misses hurt more than builds."""
    timezone: str = "UTC"
    """Time zone in which the readers live, as in Europe/Berlin: prediction learns their hours by its
    clock."""
    lease_s: PositiveFloat = 60
    """Seconds after which a slot that was claimed and never done is claimed again."""
    retry_s: PositiveFloat = 5
    """Seconds until a slot whose job could not be enqueued is tried again."""
    grace_s: PositiveFloat = 30
    """Seconds by which a slot may be late under `skip`."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no time zone {name!r:.60}: write one as in Europe/Berlin") from None
        return name

    def warm_rate(self, connections: int) -> float:
        """Seconds of loading a second that predicted warming may spend, with so many loader connections."""
        return min(self.warm_budget_s / 60, self.warm_share * connections)
