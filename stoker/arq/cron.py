"""arq's cron jobs as entries of Stoker's schedule: arq computes the times, the ledger in Postgres decides.

A worker that was away runs the newest missed slot late, which arq does not do; the setting `schedule.late`
changes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from hashlib import blake2b

from arq.cron import CronJob, next_cron

from stoker.cache.declared import NAME
from stoker.errors import DeclarationError
from stoker.jobs import Job
from stoker.jobs.arq_call import ArqCall
from stoker.schedule import Listed
from stoker.settings import LatePolicy, OverlapPolicy

FIELDS = ("month", "day", "weekday", "hour", "minute", "second", "microsecond")
LONGEST = 32


@dataclass(frozen=True)
class ArqCron(Listed):
    """One cron job of an arq application."""

    cron: CronJob
    zone: tzinfo
    """In which its hours count."""
    late: LatePolicy = LatePolicy.ONCE
    overlap: OverlapPolicy = OverlapPolicy.ALLOW

    def __post_init__(self) -> None:
        self._check(self.late, self.overlap)
        try:
            self.following(datetime.now(UTC))
        except (OverflowError, ValueError, RuntimeError, TypeError) as error:
            raise DeclarationError(f"cron job {self.cron.name}: it never comes: {error}") from None

    def newest(self, now: datetime) -> datetime:
        """The latest slot that is not in the future; found at once until the next one has come."""
        if self._known and self._known[1] <= now < (later := self.following(self._known[1])):
            self._known[:] = [self._known[1], later]
        elif not self._known or not self._known[0] <= now < self._known[1]:
            slot = super().newest(now)
            self._known[:] = [slot, self.following(slot)]
        return self._known[0]

    @cached_property
    def _known(self) -> list[datetime]:
        """A slot and the one that follows it: to search costs arq milliseconds."""
        return []

    def job_at(self, slot: datetime) -> Job:
        """The call of a slot, under the id that arq's own workers give it."""
        assert isinstance(self.job, ArqCall)  # noqa: S101 - it is made with one
        job_id = self.cron.job_id
        if job_id is None and self.cron.unique:
            job_id = f"{self.cron.name}:{round(slot.timestamp() * 1000)}"
        return self.job.model_copy(update={"job_id": job_id})

    def says(self) -> str:
        """When it runs, for people."""
        given = ((name, getattr(self.cron, name)) for name in FIELDS[:-1])
        said = (f"{name}={_listed(value)}" for name, value in given if value is not None)
        return f"{' '.join(said)} {self.zone}"

    def _after(self, moment: datetime) -> Iterator[datetime]:
        # From two seconds before: arq passes over slots within a second.
        slot = (moment - timedelta(seconds=2)).astimezone(self.zone)
        while True:
            slot = next_cron(slot, **{name: getattr(self.cron, name) for name in FIELDS})
            if (found := slot.astimezone(UTC)) > moment:
                yield found


def _listed(value: object) -> object:
    return ",".join(map(str, sorted(value))) if isinstance(value, set) else value


def task_names(crons: list[CronJob]) -> list[str]:
    """A name for each in the schedule's ledger, made of the cron job's own."""
    names: list[str] = []
    for cron in crons:
        name = _task_name(cron.name)
        again = names.count(name) + 1
        names.append(name if again == 1 else f"{name[: LONGEST - 4]}_{again}")
    return names


def _task_name(cron_name: str) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", cron_name.lower()).strip("_")
    if len(name) > LONGEST:
        digest = blake2b(cron_name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
        name = f"{name[: LONGEST - 9]}_{digest}"
    return name if NAME.fullmatch(name) else f"cron_{name[: LONGEST - 5]}"
