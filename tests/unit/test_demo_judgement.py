"""What the driver calls stale, forbidden or missed: a driver that cannot find fault proves nothing."""

from __future__ import annotations

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stoker.chaos import Read
from stoker.chaos.tally import Tally, percentile
from worker.demo import DemoOptions
from worker.demo.reads import expected, shown, staleness
from worker.demo.report import FLOORS, Servers, report
from worker.demo.traffic import Traffic
from worker.demo.world import Project, World

ANN, BEN, CID = 1, 2, 3
ALL = ("dashboard", "detail", "export", "list", "search", "stats")


def world() -> World:
    alpha = Project(1, ANN, 1, 1, "Cuff", {ANN: "owner", BEN: "viewer"}, {ANN, BEN})
    beta = Project(2, BEN, 2, 2, "Pump", {BEN: "owner"}, {BEN})
    return World([alpha, beta], [ANN, BEN, CID])


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def judge(known: World, read: Read, answer: bytes) -> str | None:
    return staleness(expected(known, read), shown(read.view, answer), same_rights=True)


def test_an_answer_below_an_applied_revision_is_stale_in_the_views_that_show_it() -> None:
    known = world()
    known.applied(1, 10, ["dashboard", "export"])
    dashboard, detail = Read("dashboard", 1, ANN, ""), Read("detail", 1, ANN, "")
    assert judge(known, dashboard, body(revision=9))
    assert judge(known, dashboard, body(revision=10)) is None
    assert judge(known, detail, body(revision=1)) is None
    known.applied(1, 11, ALL)
    assert judge(known, detail, body(revision=10))


def test_a_change_counts_for_reads_that_begin_after_it_was_applied() -> None:
    known = world()
    want = expected(known, Read("detail", 1, ANN, ""))
    known.applied(1, 10, ALL)
    assert staleness(want, shown("detail", body(revision=1)), same_rights=True) is None


def test_an_applied_revision_never_goes_back() -> None:
    known = world()
    known.applied(1, 11, ALL)
    known.applied(1, 10, ALL)
    assert judge(known, Read("detail", 1, ANN, ""), body(revision=10))


def test_a_list_is_stale_when_one_of_its_projects_is() -> None:
    known = world()
    known.applied(2, 10, ALL)
    page = Read("list", BEN, BEN, "", {"limit": "10"})
    items = [{"id": 1, "revision": 1}, {"id": 2, "revision": 10}]
    assert judge(known, page, body(items=items)) is None
    items[1]["revision"] = 2
    assert judge(known, page, body(items=items))
    assert judge(known, Read("search", BEN, BEN, "", {"query": "pump"}), body(items=items))


def test_a_first_page_is_stale_without_the_newest_project_but_a_filtered_one_is_not() -> None:
    known = world()
    known.applied(2, 10, ALL)
    items = [{"id": 1, "revision": 1}]
    assert judge(known, Read("list", BEN, BEN, "", {"limit": "10"}), body(items=items))
    assert judge(known, Read("list", BEN, BEN, "", {"q": "pump"}), body(items=items)) is None
    assert judge(known, Read("stats", BEN, BEN, ""), body(revision=2))


def test_who_is_being_removed_is_not_held_to_what_they_saw() -> None:
    known = world()
    known.applied(1, 10, ALL)
    stats = Read("stats", BEN, BEN, "")
    before = known.rights[BEN]
    want = expected(known, stats)
    known.leaving(known.projects[1], BEN)
    got = shown("stats", body(revision=2))
    assert staleness(want, got, same_rights=before == known.rights[BEN]) is None
    assert judge(known, stats, body(revision=2)) is None
    known.left(known.projects[1], BEN)
    assert expected(known, stats).never == {1}


def test_a_deleted_project_is_lost_to_all_its_readers() -> None:
    known = world()
    alpha = known.projects[1]
    assert known.deleting(alpha) == [ANN, BEN]
    assert known.visible[BEN] == {2}
    assert 1 not in known.projects


def test_the_same_seed_gives_the_same_traffic() -> None:
    def drawn(seed: int) -> list[object]:
        traffic = Traffic(world(), Random(seed))
        return [(traffic.read(), traffic.intrusion()) for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_intruders_never_may_read() -> None:
    known = world()
    known.leaving(known.projects[1], BEN)
    known.left(known.projects[1], BEN)
    traffic = Traffic(known, Random(1))
    drawn = [traffic.intrusion() for _ in range(200)]
    seen = {(read.reader, read.scope_id) for read in drawn if read is not None}
    assert (BEN, 1) in seen
    assert not seen & {(ANN, 1), (BEN, 2)}


def test_whoever_is_made_a_member_again_is_no_intruder_any_more() -> None:
    known = world()
    alpha = known.projects[1]
    known.leaving(alpha, BEN)
    known.left(alpha, BEN)
    before = known.rights[BEN]
    known.joining(alpha, BEN)
    assert known.rights[BEN] > before
    assert not known.lost[BEN]


@given(st.lists(st.floats(0, 1000), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found is not None
    assert sum(round(value, 2) <= found for value in values) >= len(values) * share
    assert found in [round(value, 2) for value in values]


NOTHING_STALE = {"checked": 9, "stale": 0}


def sufficient() -> Tally:
    tally = Tally()
    for name, least in FLOORS.items():
        setattr(tally, name, least)
    return tally


def good() -> tuple[Tally, Servers]:
    lanes: dict[str, dict[str, int | None]] = {
        name: {"done": 1, "failed": 0, "dead": 0} for name in ("changes", "refresh", "warm")
    }
    schedule = {"keep_warm": 1, "warm_active": 1}
    return sufficient(), Servers(
        100, 100, {"p50": 1.0, "p99": 2.0}, lanes, schedule, NOTHING_STALE, files(9, 9)
    )


def files(requested: int, delivered: int) -> dict[str, int]:
    counts = {"exports_requested": requested, "exports_delivered": delivered}
    return {**counts, "exports_written": 9, "digests_written": 20}


def failures(tally: Tally, servers: Servers) -> list[str]:
    found: list[str] = report(DemoOptions(), tally, servers, 30.0)["failures"]
    return found


def test_what_is_good_has_no_failures_and_what_was_not_measured_is_null() -> None:
    found = report(DemoOptions(), *good(), 30.0)
    assert found["failures"] == []
    assert found["own_jobs"].startswith("9 exports asked for in transactions, 9 delivered, 9 written; ")
    assert found["hit_rate"]["list"] is None
    assert found["read_ms"]["list"] == {"hit_p50": None, "hit_p99": None, "sql_p50": None, "sql_p99": None}


def test_a_machine_that_cannot_follow_is_told_by_its_time_or_by_its_hits() -> None:
    tally, servers = good()
    tally.ms["detail", "hit"] += [5.0, 40.0, 900.0]
    assert not report(DemoOptions(), tally, servers, 30.0)["saturated"]
    assert report(DemoOptions(), tally, servers, 33.0)["saturated"]
    tally.ms["list", "hit"] += [60.0, 70.0]
    assert report(DemoOptions(), tally, servers, 30.0)["saturated"]


def test_each_floor_is_a_failure_when_it_is_missed_by_one() -> None:
    for name, least in FLOORS.items():
        tally, servers = good()
        holder = servers.files if name in servers.files else vars(tally)
        holder[name] = least - 1
        assert any(name in line for line in failures(tally, servers)), name


def test_each_thing_that_must_not_be_is_a_failure() -> None:
    for name in ("stale_reads", "stale_entries", "forbidden_reads_served", "server_errors"):
        tally, servers = good()
        setattr(tally, name, 1)
        assert failures(tally, servers) == [f"{name}: 1, wanted 0"]
    tally, servers = good()
    tally.note("no answer", "GET /")
    assert failures(tally, servers) == ["no answer: 1 times"]
    servers.jobs["warm"]["dead"] = 1
    unapplied = Servers(
        101, 100, servers.change_to_applied_ms, servers.jobs, {}, {"checked": 9, "stale": 1}, files(9, 8)
    )
    assert failures(sufficient(), unapplied) == [
        "unapplied events: 1",
        "undelivered requests: 1",
        "the worker's verifier found 1 entries stale",
        "dead jobs: 1",
        "no scheduled warming ran",
    ]
