"""Settings of the schedule: what an operator may change."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveFloat

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
    lease_s: PositiveFloat = 60
    """Seconds after which a slot that was claimed and never done is claimed again."""
    retry_s: PositiveFloat = 5
    """Seconds until a slot whose job could not be enqueued is tried again."""
    grace_s: PositiveFloat = 30
    """Seconds by which a slot may be late under `skip`."""
