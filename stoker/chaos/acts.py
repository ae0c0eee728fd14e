"""Jobs that misbehave, and an event that cannot be applied: chaos adds them to a domain and its job types.

Every process of a run knows them, except those that only the newer release knows. A job does what its
arguments say; a poison event fails until the driver has healed it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Domain, Event, Invalidation, Lane, Outcome, Rule, Scope
from stoker.chaos.effects import EFFECTS, EachTime, Once, each_time, once
from stoker.chaos.surroundings import FOLDER, HEALED
from stoker.handlers.context import JobContext
from stoker.handlers.run import HANDLERS
from stoker.jobs import JOBS, Job, KeepWarm, RetryPolicy
from stoker.schedule import Cron, Every

ENTRIES_LIVE = timedelta(seconds=25)
"""TTL of every view: some entries expire during a run, most live to be compared."""
EVERY = {"warm_active": timedelta(seconds=7), "keep_warm": timedelta(seconds=3)}
"""Intervals of the schedule."""


ACTS, SLOW = Lane("chaos_acts", concurrency=6), Lane("chaos_slow", concurrency=8)
"""Lanes of the jobs below."""


class What(StrEnum):
    """What a job does, by its arguments."""

    WORK = "work"
    RAISE = "raise"
    """An error that its job does not declare: dead at once."""
    FAIL = "fail"
    """A declared error, each time: dead when its tries are used up."""
    HANG = "hang"
    SWALLOW = "swallow"
    """Hangs, and ignores its cancellation for ever."""
    KILL = "kill"
    """Kills its worker, each time: quarantined."""


class AskedToFail(Exception):
    """A declared error, and none of a server: a job that fails by an outage waits for hours."""


class Act(Job):
    """A short job."""

    kind = "chaos.act.v1"
    lane = ACTS
    timeout = timedelta(seconds=1)
    retry = RetryPolicy(
        attempts=2,
        first=timedelta(milliseconds=200),
        longest=timedelta(milliseconds=200),
        errors=(AskedToFail, TimeoutError),
    )
    what: What


class Slow(Job):
    """A job that takes longer than a claim lasts unless it is renewed."""

    kind = "chaos.slow.v1"
    lane = SLOW
    seconds: float = 9


class Newer(Job):
    """A job that only the newer of two releases knows."""

    kind = "chaos.newer.v1"
    lane = ACTS


NEWER = frozenset({Newer, EachTime})
"""Jobs that only the newer release knows."""


class Poison(Event):
    """An event whose rule raises until it is healed."""

    kind: ClassVar[str] = "chaos.poison"
    scope_kind: str
    scope_id: str

    def invalidations(self) -> list[Invalidation]:
        """Every view of its scope."""
        return [Invalidation(Scope(self.scope_kind, self.scope_id))]


def changed(domain: Domain) -> Domain:
    """The domain with short lives of entries, a quick schedule, jobs of chaos, and the event that poisons."""
    views = tuple(replace(view, ttl=ENTRIES_LIVE) for view in domain.views)
    poison: Rule[Poison] = Rule(Poison, Poison.invalidations, poisoned)
    return replace(
        domain,
        views=views,
        rules=(*domain.rules, poison),
        schedule=_quick(domain),
        lanes=(*domain.lanes, ACTS, SLOW, EFFECTS),
        handlers={**domain.handlers, Act: act, Slow: slow, Newer: newer, Once: once, EachTime: each_time},
    )


def _quick(domain: Domain) -> tuple[Every | Cron, ...]:
    return tuple(
        replace(one, every=EVERY[one.name]) if isinstance(one, Every) and one.name in EVERY else one
        for one in domain.schedule
    )


def as_older(domain: Domain) -> Domain:
    """The domain of a release that knew neither the newer jobs nor `keep_warm`.

    It takes `keep_warm` from this process, which must be one of that release.
    """
    assert KeepWarm in HANDLERS  # noqa: S101 - imported before, because it compares itself with JOBS
    JOBS.pop(KeepWarm.kind, None)
    return replace(
        domain,
        schedule=tuple(one for one in domain.schedule if one.job.kind != KeepWarm.kind),
        handlers={job: handler for job, handler in domain.handlers.items() if job not in NEWER},
    )


async def act(_context: JobContext, job: Act) -> Outcome:
    """Do what the job says."""
    match job.what:
        case What.RAISE:
            raise ValueError("asked to raise")
        case What.FAIL:
            raise AskedToFail
        case What.HANG:
            await asyncio.Event().wait()
        case What.SWALLOW:
            await _swallow()
        case What.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
    return Outcome.DONE


async def slow(_context: JobContext, job: Slow) -> Outcome:
    """Take a while."""
    await asyncio.sleep(job.seconds)
    return Outcome.DONE


async def newer(_context: JobContext, _job: Newer) -> Outcome:
    """Do nothing; only the newer release has this handler."""
    return Outcome.DONE


async def poisoned(_session: AsyncSession, _events: Sequence[Poison]) -> list[Invalidation]:
    """Raise until the driver says that it is healed."""
    if not _healed():
        raise ValueError("a poison event")
    return []


def _healed() -> bool:
    return Path(os.environ[FOLDER], HEALED).exists()


async def _swallow() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
