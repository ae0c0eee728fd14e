"""The schedule of a domain: jobs that are enqueued at the slots of an interval or of a cron expression.

A domain declares its schedule; the worker keeps it. Slots are computed from the clock alone, the same in
every worker, so that the ledger can give each slot to one of them. Nothing here talks to a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import dropwhile, islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from stoker.cache.declared import check_name
from stoker.errors import DeclarationError
from stoker.jobs import Job, KeepWarm, Prune, Verify, Warm
from stoker.settings import LatePolicy, OverlapPolicy

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NO_TIME = timedelta(0)
FIRST_SPAN = timedelta(minutes=1)
RESOLUTION = timedelta(microseconds=1)


@dataclass(frozen=True)
class Scheduled:
    """One entry of the schedule: `name` stands in the ledger, never rename it."""

    name: str
    """1 to 32 of a-z, 0-9 and _, unique in the schedule."""
    job: Job
    """What is enqueued."""

    def job_at(self, slot: datetime) -> Job:
        """What is enqueued at a slot."""
        del slot
        return self.job

    def newest(self, now: datetime) -> datetime:
        """The latest slot that is not in the future."""
        return next(self.backwards(now))

    def following(self, now: datetime) -> datetime:
        """The earliest slot that is in the future."""
        raise NotImplementedError

    def backwards(self, now: datetime) -> Iterator[datetime]:
        """Slots from the newest one on, each older than the one before."""
        raise NotImplementedError

    def interval(self, now: datetime) -> timedelta:
        """The time between the slots before and after a moment."""
        return self.following(now) - self.newest(now)

    def last(self, now: datetime, most: int) -> list[datetime]:
        """The newest slots, the newest first."""
        return list(islice(self.backwards(now), most))

    def says(self) -> str:
        """When it runs, for people."""
        raise NotImplementedError

    def _check(self, late: LatePolicy, overlap: OverlapPolicy) -> None:
        check_name(self.name, "schedule")
        if not isinstance(self.job, Job):
            raise DeclarationError(f"schedule {self.name}: needs a job, such as Warm(), not {self.job!r:.60}")
        for given, policy in ((late, LatePolicy), (overlap, OverlapPolicy)):
            if not isinstance(given, policy):
                known = " or ".join(f"{policy.__name__}.{one.name}" for one in policy)
                raise DeclarationError(f"schedule {self.name}: write {known}, not {given!r:.60}")
        if (late, overlap) == (LatePolicy.ALL, OverlapPolicy.SKIP):
            raise DeclarationError(
                f"schedule {self.name}: late slots are enqueued together: LatePolicy.ALL needs "
                "OverlapPolicy.ALLOW"
            )


@dataclass(frozen=True)
class Every(Scheduled):
    """A job at every multiple of an interval, counted from 1970 in UTC: `Every("sla", RecomputeSla(), …)`."""

    every: timedelta
    """The interval, above zero."""
    late: LatePolicy = LatePolicy.ONCE
    """What becomes of slots that passed while no worker ran."""
    overlap: OverlapPolicy = OverlapPolicy.SKIP
    """What becomes of a slot while the last one's job has not ended."""

    def __post_init__(self) -> None:
        self._check(self.late, self.overlap)
        if not isinstance(self.every, timedelta) or self.every <= timedelta(0):
            raise DeclarationError(
                f"schedule {self.name}: the interval must be a positive timedelta, such as "
                f"timedelta(minutes=5), not {self.every!r:.60}"
            )

    def following(self, now: datetime) -> datetime:
        """The earliest slot that is in the future."""
        return self.newest(now) + self.every

    def backwards(self, now: datetime) -> Iterator[datetime]:
        """Slots from the newest one on, each older than the one before."""
        slot = EPOCH + (now - EPOCH) // self.every * self.every
        while True:
            yield slot
            slot -= self.every

    def says(self) -> str:
        """When it runs, for people."""
        return f"every {self.every.total_seconds():g} s"


class Listed(Scheduled):
    """An entry whose slots can only be searched forwards from a moment."""

    def following(self, now: datetime) -> datetime:
        """The earliest slot that is in the future."""
        return next(self._after(now))

    def backwards(self, now: datetime) -> Iterator[datetime]:
        """Slots from the newest one on, each older than the one before."""
        # cronsim's own search backwards never ends in some time zones, and arq has none.
        end = now
        while True:
            slot = self._last_until(end)
            yield slot
            end = slot - RESOLUTION

    def _last_until(self, end: datetime) -> datetime:
        """The latest slot that is not after a moment: found by halving a span that has one."""
        span = FIRST_SPAN
        while (slot := self.following(end - span)) > end:
            span *= 2
        until = end
        while self.following(slot) <= end:
            middle = slot + (until - slot) / 2
            later = self.following(middle)
            if later <= end:
                slot = later
            else:
                until = middle
        return slot

    def _after(self, moment: datetime) -> Iterator[datetime]:
        raise NotImplementedError


@dataclass(frozen=True)
class Cron(Listed):
    """A job at the times of a cron expression: `Cron("digest", SendDigests(), "0 6 * * mon-fri")`.

    Five fields, names of days and months allowed, in `timezone`. Through daylight saving time, a slot in the
    hour that is skipped runs right after the change, once, and one in the hour that is repeated runs the
    first time. An expression for every hour (`*`) goes by the wall clock. Where the clocks change by half an
    hour, that holds only for one whose minutes begin with `*`, too.
    """

    expression: str
    """Minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"
    """A name of the IANA database: Europe/Berlin."""
    late: LatePolicy = LatePolicy.ONCE
    """What becomes of slots that passed while no worker ran."""
    overlap: OverlapPolicy = OverlapPolicy.SKIP
    """What becomes of a slot while the last one's job has not ended."""

    def __post_init__(self) -> None:
        self._check(self.late, self.overlap)
        try:
            zone = self._zone
        except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
            raise DeclarationError(
                f"schedule {self.name}: there is no time zone {self.timezone!r:.60}"
            ) from None
        fields = self.expression.split() if isinstance(self.expression, str) else []
        said = f"schedule {self.name}: {self.expression!r:.60}"
        if len(fields) != 5:  # noqa: PLR2004 - as said
            raise DeclarationError(
                f"{said} is no cron expression: write five fields, minute, hour, day of month, month, "
                "day of week"
            )
        try:
            next(CronSim(self.expression, datetime(2024, 1, 1, tzinfo=zone)))
        except CronSimError as error:
            if _is_right_by_field(fields):
                raise DeclarationError(f"{said} never comes: no such month has that day") from None
            wrong = str(error).removeprefix("Bad ")
            raise DeclarationError(f"{said} is no cron expression: its {wrong} is wrong") from None
        except StopIteration:
            raise DeclarationError(f"{said} never comes") from None

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def _after(self, moment: datetime) -> Iterator[datetime]:
        begin = moment.astimezone(self._zone)
        while begin.fold:  # started within the repeated hour, the library would give its slots twice
            begin = (begin.astimezone(UTC) - timedelta(hours=1)).astimezone(self._zone)
        slots = (slot.astimezone(UTC) for slot in CronSim(self._searched(begin.year), begin))
        return dropwhile(lambda slot: slot <= moment, slots)

    def _searched(self, year: int) -> str:
        """The expression for the library, which goes by the wall clock where minute or hour begin with `*`.

        Then a skipped slot does not run, and a repeated one runs twice. That is right only for slots of every
        hour, and not for those once an hour where the clocks change by half an hour.
        """
        minute, hour, *rest = self.expression.split()
        if not hour.startswith("*"):
            minute = minute.replace("*", "0-59", 1)
        elif not minute.startswith("*") and self._changes_by_part_of_an_hour(year):
            hour = hour.replace("*", "0-23", 1)
        return " ".join((minute, hour, *rest))

    def _changes_by_part_of_an_hour(self, year: int) -> bool:
        january, july = (
            self._zone.utcoffset(datetime(year, month, 1, tzinfo=self._zone)) for month in (1, 7)
        )
        return ((january or NO_TIME) - (july or NO_TIME)) % timedelta(hours=1) != NO_TIME

    def says(self) -> str:
        """When it runs, for people."""
        return f"{self.expression} {self.timezone}"


def _is_right_by_field(fields: list[str]) -> bool:
    """Whether each field can be, so that only their combination cannot."""
    try:
        for at, field in enumerate(fields):
            CronSim(" ".join([*["*"] * at, field, *["*"] * (4 - at)]), EPOCH)
    except CronSimError:
        return False
    return True


MAINTENANCE: tuple[Every | Cron, ...] = (
    Every("warm_active", Warm(), timedelta(minutes=30)),
    # Late ones are skipped: the next comes within the minute.
    Every("keep_warm", KeepWarm(), timedelta(minutes=1), late=LatePolicy.SKIP),
    Every("verify", Verify(), timedelta(minutes=1), late=LatePolicy.SKIP),
    Cron("prune", Prune(), "3 * * * *"),
)
"""What Stoker needs to run by itself: the schedule of a domain that declares none."""
