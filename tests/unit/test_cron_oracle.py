"""Cron expressions around each change of the clocks, against a search through every minute of those days.

A job of certain hours whose time is skipped runs right after the change, once; one whose time comes twice
runs the first time. A job of every hour goes on by the clock on the wall. On Lord Howe, where clocks change
by half an hour, that holds only for jobs that begin with `*`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest

from stoker.jobs import Prune
from stoker.schedule import Cron

MINUTE = timedelta(minutes=1)
ZONES = ("Europe/Berlin", "America/New_York", "Pacific/Chatham", "America/Havana", "America/Santiago")
HALF = "Australia/Lord_Howe"
EXPRESSIONS = {
    "30 2 * * *": ({30}, {2}),
    "0 0 * * *": ({0}, {0}),
    "15 1 * * *": ({15}, {1}),
    "59 23 * * *": ({59}, {23}),
    "5 2,3 * * *": ({5}, {2, 3}),
    "0 0-3 * * *": ({0}, {0, 1, 2, 3}),
    "*/15 * * * *": ({0, 15, 30, 45}, set(range(24))),
    "0 * * * *": ({0}, set(range(24))),
    "*/20 2 * * *": ({0, 20, 40}, {2}),
    "*/10 1,2 * * *": (set(range(0, 60, 10)), {1, 2}),
    "45 * * * *": ({45}, set(range(24))),
}


def changes(zone: ZoneInfo) -> Iterator[datetime]:
    """The moments of a year at which the zone's offset changes."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    while moment.year == 2026:
        later = moment + timedelta(hours=1)
        if moment.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            yield later
        moment = later


def searched(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Its slots, found minute by minute."""
    minutes, hours = EXPRESSIONS[expression]
    minute, hour, *_ = expression.split()
    by_the_clock = "*" in hour and (zone.key != HALF or "*" in minute)
    slots, moment, latest = [], begin, None
    while moment < end:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        passed = [wall]
        if latest is not None and wall > latest + MINUTE and not by_the_clock:
            passed += [latest + MINUTE * one for one in range(1, (wall - latest) // MINUTE)]
        is_again = latest is not None and wall <= latest
        if any(one.minute in minutes and one.hour in hours for one in passed):
            slots += [moment] if by_the_clock or not is_again else []
        latest = wall if latest is None else max(latest, wall)
        moment += MINUTE
    return slots


@pytest.mark.parametrize("zone", [*ZONES, HALF])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_slots_are_those_of_a_search_through_every_minute(expression: str, zone: str) -> None:
    cron, two_days = Cron("any", Prune(), expression, zone), timedelta(days=2)
    found = list(changes(ZoneInfo(zone)))
    assert len(found) == 2
    for change in found:
        begin, end = change - two_days, change + two_days
        wanted = searched(expression, ZoneInfo(zone), begin, end)
        backwards = list(takewhile(lambda slot: slot >= begin, cron.backwards(end - MINUTE)))  # noqa: B023
        assert backwards[::-1] == wanted
        slot, forwards = cron.following(begin - MINUTE), []
        while slot < end:
            forwards.append(slot)
            slot = cron.following(slot)
        assert forwards == wanted
        for minutes in range(-300, 300, 7):
            moment = change + MINUTE * minutes
            assert cron.newest(moment) == max(one for one in wanted if one <= moment)
            assert cron.following(moment) == min(one for one in wanted if one > moment)
