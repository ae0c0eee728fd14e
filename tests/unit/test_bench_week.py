"""The benchmark's office: the same seed gives the same days, and the model of the cache counts right."""

from __future__ import annotations

from bench import week
from bench.week import BEGIN, BUILD_S, DAY_S, LEAD_DAYS, Act, Cache, Office

COUNTED_FROM = BEGIN + LEAD_DAYS * DAY_S


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
    # Its owner counts as active since the change, so the second time the access entry is there.
    assert played.sql_s["misses"] == 2 * BUILD_S["detail"] + BUILD_S["access"]
    assert played.sql_s["refresh"] == BUILD_S["detail"]


def test_a_change_refreshes_what_is_in_demand_but_no_search() -> None:
    office = Office(3, days=1)
    office.teams[0] = [1]
    at = COUNTED_FROM + 9 * 3600
    office.acts = [
        Act(at, 1, "search/1/0"),
        Act(at + 10, 1, "list/1"),
        Act(at + 20, 1, "0", changes=True),
        Act(at + 30, 1, "search/1/0"),
        Act(at + 30, 1, "list/1"),
    ]
    assert Cache(office, None).play().hits == {"list": 1, "search": 0}


def test_a_page_is_no_hit_without_the_access_entry() -> None:
    office = Office(3, days=1)
    at = COUNTED_FROM + 9 * 3600
    office.acts = [Act(at, 1, "detail/0"), Act(at + 10, 1, "detail/0")]
    cache = Cache(office, None)
    build = cache._build

    def but_no_access(entry: str, now: float, why: str) -> None:
        if entry != "access/0":
            build(entry, now, why)

    cache._build = but_no_access  # type: ignore[method-assign]
    assert cache.play().hits["detail"] == 0
