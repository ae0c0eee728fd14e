"""The benchmark's office: the same seed gives the same days, and the model of the cache counts right."""

from __future__ import annotations

from bench import week
from bench.week import BEGIN, BUILD_S, COUNTED_FROM, Act, Cache, Office


def test_the_same_seed_gives_the_same_days() -> None:
    assert Office(3, days=3).acts == Office(3, days=3).acts != Office(4, days=3).acts
    assert all(BEGIN <= act.at < BEGIN + 4 * 86400 for act in Office(3, days=3).acts)


def test_misses_hits_and_changes_are_counted() -> None:
    office = Office(3, days=1)
    at = COUNTED_FROM + 9 * 3600
    entry = "detail/0"
    office.acts = [
        Act(at, 1, entry),
        Act(at + 10, 2, entry),
        Act(at + 20, 1, "0", changes=True),  # somebody wants it: it is built again at once
        Act(at + 30, 1, entry),
        Act(at + 30 + week.TTL_S["detail"] * 3, 1, entry),
    ]
    played = Cache(office, None).play()
    assert (played.reads["detail"], played.hits["detail"]) == (4, 2)
    assert played.sql_s["misses"] == 2 * BUILD_S["detail"]
    assert played.sql_s["refresh"] == BUILD_S["detail"]
