"""What runs by itself, when, and what becomes of a slot that nobody was there for."""

from __future__ import annotations

import re
from datetime import time, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import PositiveFloat, PositiveInt, field_validator, model_validator

from stoker.settings.tables import Table


class LatePolicy(StrEnum):
    """What becomes of slots that passed while no worker was there."""

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


class LateSettings(Table):
    """Table [schedule.late]: by task, what becomes of slots that passed while no worker was there."""

    warm_active: LatePolicy = LatePolicy.ONCE
    """Once: the pages of active users are cold, and late is better than in half an hour."""
    keep_warm: LatePolicy = LatePolicy.SKIP
    """Skip: the next slot comes within the minute."""
    verify: LatePolicy = LatePolicy.SKIP
    """Skip: the next slot comes within the minute."""
    prune: LatePolicy = LatePolicy.ONCE
    """Once: rows must be deleted, and once a day is often enough."""


class OverlapSettings(Table):
    """Table [schedule.overlap]: by task, what becomes of a slot whose last job has not ended."""

    warm_active: OverlapPolicy = OverlapPolicy.SKIP
    """Skip: two would build the same pages."""
    keep_warm: OverlapPolicy = OverlapPolicy.SKIP
    """Skip: two would build the same pages."""
    verify: OverlapPolicy = OverlapPolicy.SKIP
    """Skip: one sample at a time is enough."""
    prune: OverlapPolicy = OverlapPolicy.SKIP
    """Skip: two would wait for each other's rows."""


class ScheduleSettings(Table):
    """Table [schedule]. Times are UTC; intervals count from the epoch, so every worker has the same slots."""

    enable_background_warming: bool = True
    """Warm active users and keep hot entries warm by schedule; false turns both off."""
    warm_active_every_s: PositiveFloat = 1800
    """Seconds between warmings of everybody who is active now."""
    keep_warm_every_s: PositiveFloat = 60
    """Seconds between rebuilds of hot entries that are about to expire. Below the shortest TTL of a view."""
    verify_every_s: PositiveFloat = 60
    """Seconds between checks of a sample of entries against SQL."""
    verify_entries: PositiveInt = 100
    """Entries in such a sample. Each costs Postgres about one build."""
    prune_at: time = time(3, 0)
    """Time of day (UTC) at which old events, audit rows and slots are deleted. Your quietest hour."""
    lease_s: PositiveFloat = 60
    """Seconds after which a slot that was claimed and never done is claimed again."""
    retry_s: PositiveFloat = 5
    """Seconds until a slot whose job could not be enqueued is tried again."""
    grace_s: PositiveFloat = 30
    """Seconds by which a slot may be late where late slots are skipped."""
    late: LateSettings = LateSettings()
    overlap: OverlapSettings = OverlapSettings()

    @field_validator("prune_at", mode="before")
    @classmethod
    def _hours_and_minutes(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the source held
        if isinstance(value, str) and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
            msg = "must be a time of day as HH:MM"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _all_need_overlap(self) -> Self:
        for task in LateSettings.model_fields:
            both = getattr(self.late, task), getattr(self.overlap, task)
            if both == (LatePolicy.ALL, OverlapPolicy.SKIP):
                msg = f'late.{task} = "all" needs overlap.{task} = "allow": late slots are enqueued together'
                raise ValueError(msg)
        return self

    @property
    def prune_offset(self) -> timedelta:
        """`prune_at` as a distance from midnight."""
        return timedelta(hours=self.prune_at.hour, minutes=self.prune_at.minute)
