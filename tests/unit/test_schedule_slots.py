"""Slots of the schedule: computed in UTC from the epoch."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import UnknownScope
from stoker.jobs import KeepWarm, Prune, Verify, Warm
from stoker.settings import ScheduleSettings
from stoker.worker.schedule.tasks import EPOCH, Task, tasks, utc_now
from tests.library import domain

MOMENTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.just(UTC),
)
INTERVALS = st.timedeltas(min_value=timedelta(milliseconds=50), max_value=timedelta(days=7))


@given(now=MOMENTS, every=INTERVALS, offset=st.timedeltas(timedelta(0), timedelta(days=1)))
def test_the_newest_slot_has_come_and_the_following_has_not(
    now: datetime, every: timedelta, offset: timedelta
) -> None:
    task = Task("any", Prune(), every, offset)
    assert task.newest(now) <= now < task.following(now)
    assert task.newest(task.newest(now)) == task.newest(now)


@given(now=MOMENTS, every=INTERVALS, later=st.floats(min_value=0, max_value=0.999))
def test_all_who_look_within_a_slot_see_the_same_one(now: datetime, every: timedelta, later: float) -> None:
    task = Task("any", Prune(), every)
    slot = task.newest(now)
    assert task.newest(slot + every * later) == slot


def test_pruning_happens_at_its_time_of_day() -> None:
    *_, prune = tasks(ScheduleSettings(enable_background_warming=False, prune_at="04:30"), domain)
    assert prune.newest(datetime(2026, 3, 29, 4, 29, tzinfo=UTC)) == datetime(2026, 3, 28, 4, 30, tzinfo=UTC)
    assert prune.newest(datetime(2026, 3, 29, 4, 31, tzinfo=UTC)) == datetime(2026, 3, 29, 4, 30, tzinfo=UTC)


def test_by_default_warming_verifying_and_pruning_are_scheduled() -> None:
    assert [task.job for task in tasks(ScheduleSettings(), domain)] == [
        Warm(target="active"),
        KeepWarm(),
        Verify(entries=100),
        Prune(),
    ]


def test_a_domain_without_a_plan_for_everybody_active_has_no_task_for_it() -> None:
    planless = replace(domain, warm_plans=())
    names = [task.name for task in tasks(ScheduleSettings(), planless)]
    assert names == ["keep_warm", "verify", "prune"]
    with pytest.raises(UnknownScope, match="nothing to warm for 'active': the domain has no such warm plan"):
        planless.check_job(Warm())


def test_background_warming_can_be_turned_off() -> None:
    assert [task.name for task in tasks(ScheduleSettings(enable_background_warming=False), domain)] == [
        "verify",
        "prune",
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_daylight_saving_of_the_host_moves_no_slot(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for task in tasks(ScheduleSettings(), domain):
            # Both changes of 2026 in Berlin, New York and on Lord Howe (half an hour) lie in the span.
            now, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
            every = max(task.every, timedelta(minutes=30))
            slots = {task.newest(now + every * number) for number in range((end - now) // every)}
            gaps = {later - earlier for earlier, later in pairwise(sorted(slots))}
            assert gaps == {every}
            assert {(slot - EPOCH - task.offset) % task.every for slot in slots} == {timedelta(0)}
        assert abs(utc_now().timestamp() - time.time()) < 1
    finally:
        monkeypatch.undo()
        time.tzset()
