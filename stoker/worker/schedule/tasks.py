"""The schedule of a worker: what the domain declares, changed by the settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from stoker.arq.cron import ArqCron
from stoker.domain import Domain
from stoker.errors import DeclarationError, SettingsError
from stoker.jobs import KeepWarm, Warm
from stoker.schedule import Cron, Every
from stoker.settings import ScheduleSettings
from stoker.settings.typo import meant
from stoker.warm_plans import ACTIVE

Task = Every | Cron | ArqCron
"""One entry of the schedule."""


def tasks(settings: ScheduleSettings, domain: Domain) -> list[Task]:
    """The schedule; raises SettingsError for a setting of an entry that the domain does not have.

    ENABLE_BACKGROUND_WARMING=false leaves out the entries that warm.
    """
    known = {task.name for task in domain.whole_schedule}
    for table in ("every_s", "late", "overlap"):
        for name in getattr(settings, table).keys() - known:
            said = f"schedule.{table}.{name}: the domain's schedule has no such entry{meant(name, known)}"
            raise SettingsError(said)
    return [
        _changed(task, settings) for task in domain.whole_schedule if not _left_out(task, settings, domain)
    ]


def _left_out(task: Task, settings: ScheduleSettings, domain: Domain) -> bool:
    if isinstance(task.job, Warm) and not domain.has_warm_plan(task.job.target):
        return True
    return isinstance(task.job, Warm | KeepWarm) and not settings.enable_background_warming


def _changed(task: Task, settings: ScheduleSettings) -> Task:
    late = settings.late.get(task.name, task.late)
    overlap = settings.overlap.get(task.name, task.overlap)
    every_s = settings.every_s.get(task.name)
    if isinstance(task.job, Warm) and task.job.target == ACTIVE:
        task = replace(task, job=task.job.model_copy(update={"unless_predicted": True}))
    try:
        if every_s is not None:
            return Every(task.name, task.job, timedelta(seconds=every_s), late, overlap)
        return replace(task, late=late, overlap=overlap)
    except DeclarationError as error:
        raise SettingsError(str(error)) from None


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
