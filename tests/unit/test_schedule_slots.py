"""Slots of the schedule: computed in UTC from the epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import DeclarationError, SettingsError, UnknownScope
from stoker.jobs import KeepWarm, Prune, Verify, Warm
from stoker.schedule import MAINTENANCE, Cron, Every
from stoker.settings import LatePolicy, OverlapPolicy, ScheduleSettings
from stoker.worker.schedule.tasks import tasks, utc_now
from tests.library import domain

MOMENTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.just(UTC),
)
INTERVALS = st.timedeltas(min_value=timedelta(milliseconds=50), max_value=timedelta(days=7))


@given(now=MOMENTS, every=INTERVALS)
def test_the_newest_slot_has_come_and_the_following_has_not(now: datetime, every: timedelta) -> None:
    task = Every("any", Prune(), every)
    assert task.newest(now) <= now < task.following(now)
    assert task.newest(task.newest(now)) == task.newest(now)


@given(now=MOMENTS, every=INTERVALS, later=st.floats(min_value=0, max_value=0.999))
def test_all_who_ask_within_a_slot_see_the_same_one(now: datetime, every: timedelta, later: float) -> None:
    task = Every("any", Prune(), every)
    slot = task.newest(now)
    assert task.newest(slot + every * later) == slot


def test_pruning_happens_every_hour() -> None:
    *_, prune = tasks(ScheduleSettings(enable_background_warming=False), domain)
    assert prune.newest(datetime(2026, 3, 29, 3, 2, tzinfo=UTC)) == datetime(2026, 3, 29, 2, 3, tzinfo=UTC)
    assert prune.newest(datetime(2026, 3, 29, 3, 3, tzinfo=UTC)) == datetime(2026, 3, 29, 3, 3, tzinfo=UTC)
    assert prune.following(datetime(2026, 3, 29, 3, 3, tzinfo=UTC)) == datetime(2026, 3, 29, 4, 3, tzinfo=UTC)


def test_a_cron_expression_goes_by_its_time_zone_through_daylight_saving() -> None:
    """The hour that is skipped in spring runs right after the change; the repeated one runs once."""
    cron = Cron("digest", Prune(), "30 2 * * *", "Europe/Berlin")
    for day, wanted in (("2026-03-28", "01:30"), ("2026-03-29", "01:00"), ("2026-03-30", "00:30")):
        noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        assert cron.newest(noon) == datetime.fromisoformat(f"{day}T{wanted}:00+00:00")
    autumn = [cron.newest(datetime(2026, 10, 25, hour, tzinfo=UTC)) for hour in range(24)]
    assert len({slot for slot in autumn if slot.day == 25}) == 1
    *_, weekly = cron.last(datetime(2026, 11, 2, tzinfo=UTC), 7)
    assert weekly == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@given(now=MOMENTS, expression=st.sampled_from(["* * * * *", "*/7 3 * * *", "0 6 * * mon-fri", "0 0 29 2 *"]))
def test_the_newest_slot_of_a_cron_expression_has_come_and_the_following_has_not(
    now: datetime, expression: str
) -> None:
    cron = Cron("any", Prune(), expression, "America/New_York")
    newest, following = cron.newest(now), cron.following(now)
    assert newest <= now < following
    assert cron.newest(following) == following
    assert cron.newest(following - timedelta(microseconds=1)) == newest


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: Cron("digest", Prune(), "0 0 30 2 *"), "never comes: no such month has that day"),
        (lambda: Cron("digest", Prune(), "0 6 * *"), "five fields"),
        (lambda: Cron("digest", Prune(), "0 25 * * *"), "its hour is wrong"),
        (lambda: Cron("digest", Prune(), "0 6 * * *", "Mars/Base"), "no time zone 'Mars/Base'"),
        (lambda: Cron("Digest!", Prune(), "0 6 * * *"), "lower-case letters"),
        (lambda: Every("digest", Prune(), timedelta(0)), "positive timedelta"),
        (lambda: Every("digest", Prune(), 300), "positive timedelta"),  # type: ignore[arg-type]
        (lambda: Every("digest", Prune, timedelta(1)), "needs a job"),  # type: ignore[arg-type]
        (lambda: Every("digest", Prune(), timedelta(1), LatePolicy.ALL), r"OverlapPolicy\.ALLOW"),
        (lambda: replace(domain, schedule=(MAINTENANCE[0], MAINTENANCE[0])), "declared twice: schedule"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_where_it_is_declared(
    declare: Callable[[], object], said: str
) -> None:
    with pytest.raises(DeclarationError, match=said):
        declare()


def test_an_operator_changes_the_schedule_by_name() -> None:
    settings = ScheduleSettings(
        every_s={"verify": 5, "prune": 60}, late={"verify": "all"}, overlap={"verify": "allow"}
    )
    changed = {task.name: task for task in tasks(settings, domain)}
    assert changed["verify"] == Every(
        "verify", Verify(), timedelta(seconds=5), LatePolicy.ALL, OverlapPolicy.ALLOW
    )
    assert changed["prune"].interval(utc_now()) == timedelta(minutes=1)
    with pytest.raises(SettingsError, match=r"schedule\.every_s\.verfy: .*did you mean verify"):
        tasks(ScheduleSettings(every_s={"verfy": 5}), domain)
    with pytest.raises(SettingsError, match=r"LatePolicy\.ALL needs OverlapPolicy\.ALLOW"):
        tasks(ScheduleSettings(late={"verify": "all"}), domain)


def test_by_default_warming_verifying_and_pruning_are_scheduled() -> None:
    assert [task.job for task in tasks(ScheduleSettings(), domain)] == [
        Warm(target="active", unless_predicted=True),
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
            every = max(task.interval(datetime(2026, 3, 1, tzinfo=UTC)), timedelta(minutes=30))
            slots = {task.newest(now + every * number) for number in range((end - now) // every)}
            gaps = {later - earlier for earlier, later in pairwise(sorted(slots))}
            assert gaps == {every}
        assert abs(utc_now().timestamp() - time.time()) < 1
    finally:
        monkeypatch.undo()
        time.tzset()
