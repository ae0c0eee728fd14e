"""What the schedule runs, and when: slots in UTC from the epoch, the same for every worker without asking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stoker.domain import ACTIVE, Domain
from stoker.jobs import Job, KeepWarm, Prune, Verify, Warm
from stoker.settings import LatePolicy, OverlapPolicy, ScheduleSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

WARM_ACTIVE, KEEP_WARM = "warm_active", "keep_warm"


@dataclass(frozen=True)
class Task:
    """A job that is enqueued every so often; slots lie at `offset` past multiples of `every`."""

    name: str
    job: Job
    every: timedelta
    offset: timedelta = timedelta(0)
    late: LatePolicy = LatePolicy.ONCE
    overlap: OverlapPolicy = OverlapPolicy.SKIP

    def newest(self, now: datetime) -> datetime:
        """The latest slot that is not in the future."""
        return EPOCH + self.offset + (now - EPOCH - self.offset) // self.every * self.every

    def following(self, now: datetime) -> datetime:
        """The earliest slot that is in the future."""
        return self.newest(now) + self.every


def tasks(settings: ScheduleSettings, domain: Domain) -> list[Task]:
    """The tasks that the settings ask for and that the domain can run.

    ENABLE_BACKGROUND_WARMING=false leaves verifying and pruning. A domain without a plan for `active` has no
    task for it.
    """
    every = {
        WARM_ACTIVE: (Warm(target=ACTIVE), settings.warm_active_every_s),
        KEEP_WARM: (KeepWarm(), settings.keep_warm_every_s),
        "verify": (Verify(entries=settings.verify_entries), settings.verify_every_s),
        "prune": (Prune(), DAY.total_seconds()),
    }
    left_out = set() if settings.enable_background_warming else {WARM_ACTIVE, KEEP_WARM}
    if not domain.warms_active:
        left_out.add(WARM_ACTIVE)
    return [
        Task(
            name,
            job,
            timedelta(seconds=every_s),
            settings.prune_offset if name == "prune" else timedelta(0),
            getattr(settings.late, name),
            getattr(settings.overlap, name),
        )
        for name, (job, every_s) in every.items()
        if name not in left_out
    ]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
